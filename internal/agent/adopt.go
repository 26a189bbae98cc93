package agent

// adopted is the content that is enforced here for one app.
type adopted struct {
	// Revision is a commit that has this content.
	Revision string
	// Content is its hash.
	Content string
	// unknown is set instead of these when the app has been here before, and what was adopted could
	// not be found out.
	unknown bool
}

// none tells that there is no content to keep.
func (a adopted) none() bool { return a.Revision == "" }
