package statusbus

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// newPush makes the commit of a report, signed if signer is not nil. Equal reports give equal commits,
// but for the signature.
func newPush(report status.Report, signer ssh.Signer) (gitsource.Push, error) {
	u := gitsource.Push{Ref: Ref(report.Cluster)}
	// Indented: people read it with git show, and compressed it is hardly larger.
	content, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return u, fmt.Errorf("write %s: %w", File, err)
	}
	if len(content) >= status.MaxReportBytes {
		return u, fmt.Errorf("the report has %d bytes, and others read no more than %d: spread the apps over more clusters", len(content), status.MaxReportBytes)
	}
	var c object.Commit
	c, u.Objects, err = newCommit(report, append(content, '\n'))
	if err == nil && signer != nil {
		err = sign(&c, signer)
	}
	if err != nil {
		return u, err
	}
	o := new(plumbing.MemoryObject)
	if err := c.Encode(o); err != nil {
		return u, fmt.Errorf("write the commit: %w", err)
	}
	u.New = o.Hash()
	u.Objects = append(u.Objects, o)
	return u, nil
}

// newCommit makes a commit without parents, and the objects of its files.
func newCommit(report status.Report, content []byte) (object.Commit, []plumbing.EncodedObject, error) {
	blob := new(plumbing.MemoryObject)
	blob.SetType(plumbing.BlobObject)
	if _, err := blob.Write(content); err != nil {
		return object.Commit{}, nil, fmt.Errorf("write %s: %w", File, err)
	}
	top := object.Tree{Entries: []object.TreeEntry{{Name: File, Mode: filemode.Regular, Hash: blob.Hash()}}}
	tree := new(plumbing.MemoryObject)
	if err := top.Encode(tree); err != nil {
		return object.Commit{}, nil, fmt.Errorf("write the folder: %w", err)
	}
	who := object.Signature{
		Name:  "holdfast " + report.Cluster,
		Email: report.Cluster + "@holdfast.invalid",
		When:  report.Time.UTC(),
	}
	c := object.Commit{
		Author: who, Committer: who, TreeHash: tree.Hash(),
		Message: fmt.Sprintf("Status of %s at commit %s\n", report.Cluster, report.Commit),
	}
	return c, []plumbing.EncodedObject{blob, tree}, nil
}

// signedPart returns what a commit's signature is about: the commit without it, byte by byte.
func signedPart(c *object.Commit) ([]byte, error) {
	o := new(plumbing.MemoryObject)
	if err := c.EncodeWithoutSignature(o); err != nil {
		return nil, err
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // in memory
	return io.ReadAll(r)
}
