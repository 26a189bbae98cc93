package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"
)

// Record is what the inventory remembers of one object. It holds hashes, never contents.
type Record struct {
	// App declared the object when it was last applied.
	App string `json:"a,omitempty"`
	// Hash is the desired hash last applied; empty until the first apply has succeeded, which means
	// that the object may be somebody else's.
	Hash string `json:"h,omitempty"`
	// Fingerprint is that of the object right after that apply.
	Fingerprint string `json:"f,omitempty"`
	// Ignored stands for the fields that were ignored in that fingerprint; empty if none were.
	Ignored string `json:"g,omitempty"`
	// Current is set once the object was healthy with that hash.
	Current bool `json:"c,omitempty"`
	// Commit is the one that brought the present hash.
	Commit string `json:"r,omitempty"`
	// Orphaned is the commit that removed the object from Git; empty while it is desired.
	Orphaned string `json:"o,omitempty"`
	// Braked is set when that commit deleted too much at once: only a permit releases it.
	Braked bool `json:"b,omitempty"`
	// Awaited are the commits whose orphans wait until this object was Current: they, or commits after
	// them, created or changed it.
	Awaited []string `json:"w,omitempty"`
	// DependsOn are the keys of the objects that this one depends on, needed to delete in reverse.
	DependsOn []string `json:"d,omitempty"`
	// ID is the object's namespace, name, group and kind, where these make no usable ConfigMap key.
	ID *[4]string `json:"i,omitempty"`
}

// sameApply tells whether two records of an object say the same of its last apply.
func (r *Record) sameApply(b *Record) bool {
	return r.App == b.App && r.Hash == b.Hash && r.Fingerprint == b.Fingerprint && r.Ignored == b.Ignored
}

// ignoredKey stands for a list of ignored fields.
func ignoredKey(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(fields, "\x00")))
	return hex.EncodeToString(sum[:4])
}

// maxKey is the API server's limit on the length of a ConfigMap key.
const maxKey = 253

// encode returns the ConfigMap key and value of a record. The key is the id in cli-utils' inventory
// format. Where that is longer than the API server allows, has other characters (names of RBAC objects
// may have nearly any), or would be read back as another id (that format has no escapes), it is a hash, with
// the id in the value.
func (r Record) encode(id object.ObjMetadata) (key, value string, err error) {
	key = id.String()
	if !usable(key, id) {
		r.ID = &[4]string{id.Namespace, id.Name, id.GroupKind.Group, id.GroupKind.Kind}
		sum := sha256.Sum256([]byte(strings.Join(r.ID[:], "\x00")))
		key = "sha256." + hex.EncodeToString(sum[:])
	}
	b, err := json.Marshal(r)
	if err != nil {
		return "", "", fmt.Errorf("encode inventory record %s: %w", key, err)
	}
	return key, string(b), nil
}

var keyCharacters = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)

func usable(key string, id object.ObjMetadata) bool {
	if len(key) > maxKey || !keyCharacters.MatchString(key) {
		return false
	}
	back, err := object.ParseObjMetadata(key)
	return err == nil && back == id
}

// decodeRecord is the reverse of encode. An empty value, as cli-utils writes it, is a record of
// which only the id is known.
func decodeRecord(key, value string) (object.ObjMetadata, Record, error) {
	var r Record
	if value != "" {
		if err := json.Unmarshal([]byte(value), &r); err != nil {
			return object.ObjMetadata{}, r, fmt.Errorf("inventory record %q: %w", key, err)
		}
	}
	if f := r.ID; f != nil {
		r.ID = nil
		return object.ObjMetadata{Namespace: f[0], Name: f[1], GroupKind: schema.GroupKind{Group: f[2], Kind: f[3]}}, r, nil
	}
	id, err := object.ParseObjMetadata(key)
	if err != nil {
		return id, r, fmt.Errorf("inventory record: %w", err)
	}
	return id, r, nil
}
