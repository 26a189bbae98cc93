package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/cli-utils/pkg/object"
)

const (
	// labelInventory marks the ConfigMaps of the inventory; its value is the instance.
	labelInventory = "holdfast.dev/inventory"
	// annotationCommit and annotationTime note with every write which commit was head then.
	annotationCommit = "holdfast.dev/commit"
	annotationTime   = "holdfast.dev/time"

	inventoryName = "holdfast-inventory-"
	// shardObjects is how many records go into one ConfigMap: at some 450 bytes for the longest
	// usual names that stays far below etcd's 1.5 MB, and small enough to be rewritten for one change.
	shardObjects = 500
)

// Inventory stores records in ConfigMaps of the agent's namespace. The id of an object decides
// which; a record that is already elsewhere (there were fewer shards once) stays where it is until
// it changes, so all shards are always read.
type Inventory struct {
	client    kubernetes.Interface
	namespace string
	instance  string
	manager   string

	shards map[string]bool               // the ConfigMaps that exist
	where  map[object.ObjMetadata]string // which one holds a record
}

// NewInventory returns the inventory of an instance in a namespace. Load it before anything else.
func NewInventory(client kubernetes.Interface, namespace, instance, manager string) *Inventory {
	return &Inventory{client: client, namespace: namespace, instance: instance, manager: manager}
}

// Load reads all records, and the commit that was head when they were last written ("" if there
// are none). A record that cannot be read is an error: to go on without it would disown its object.
func (inv *Inventory) Load(ctx context.Context) (records map[object.ObjMetadata]Record, commit string, err error) {
	list, err := inv.client.CoreV1().ConfigMaps(inv.namespace).List(ctx, metav1.ListOptions{LabelSelector: labelInventory + "=" + inv.instance})
	if err != nil {
		return nil, "", fmt.Errorf("read the inventory in namespace %s: %w", inv.namespace, err)
	}
	records = map[object.ObjMetadata]Record{}
	inv.shards, inv.where = map[string]bool{}, map[object.ObjMetadata]string{}
	var errs []error
	latest := ""
	for i := range list.Items {
		cm := &list.Items[i]
		inv.shards[cm.Name] = true
		if t := cm.Annotations[annotationTime]; t > latest {
			latest, commit = t, cm.Annotations[annotationCommit]
		}
		for key, value := range cm.Data {
			id, r, err := decodeRecord(key, value)
			if err != nil {
				errs = append(errs, fmt.Errorf("ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err))
				continue
			}
			records[id] = r
			inv.where[id] = cm.Name
		}
	}
	return records, commit, errors.Join(errs...)
}

// errInventoryLost: somebody deleted a ConfigMap of the inventory. What it held besides what was to be
// saved is known to the Engine alone, which has to save everything again.
var errInventoryLost = errors.New("a part of the inventory was deleted")

// Save stores a batch, as one small patch per ConfigMap concerned, and notes the commit that is head.
// It may be repeated after an error.
func (inv *Inventory) Save(ctx context.Context, b Batch, commit string, now time.Time) error {
	data := map[string]map[string]any{}
	placed := map[object.ObjMetadata]string{}
	count := len(inv.where)
	for id, r := range b {
		if _, ok := inv.where[id]; !ok && r != nil {
			count++
		}
	}
	for id, r := range b {
		shard, ok := inv.where[id]
		if !ok {
			if r == nil {
				continue
			}
			shard = shardOf(id, count)
		}
		key, value, err := Record{}.encode(id)
		if r != nil {
			key, value, err = r.encode(id)
		}
		if err != nil {
			return err
		}
		if data[shard] == nil {
			data[shard] = map[string]any{}
		}
		data[shard][key] = value
		placed[id] = shard
		if r == nil {
			data[shard][key] = nil // a merge patch (RFC 7386) removes it
		}
	}
	var errs []error
	for shard, d := range data {
		if err := inv.write(ctx, shard, d, commit, now); err != nil {
			errs = append(errs, fmt.Errorf("write inventory ConfigMap %s/%s: %w", inv.namespace, shard, err))
			continue
		}
		for id, s := range placed {
			switch {
			case s != shard:
			case b[id] == nil:
				delete(inv.where, id)
			default:
				inv.where[id] = shard
			}
		}
	}
	return errors.Join(errs...)
}

func (inv *Inventory) write(ctx context.Context, shard string, data map[string]any, commit string, now time.Time) error {
	annotations := map[string]string{annotationCommit: commit, annotationTime: now.UTC().Format("2006-01-02T15:04:05.000000000Z")}
	configMaps := inv.client.CoreV1().ConfigMaps(inv.namespace)
	if !inv.shards[shard] {
		cm := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: shard, Labels: map[string]string{
				labelInventory: inv.instance, "app.kubernetes.io/managed-by": "holdfast",
			}, Annotations: annotations},
			Data: map[string]string{},
		}
		for k, v := range data {
			if s, ok := v.(string); ok {
				cm.Data[k] = s
			}
		}
		_, err := configMaps.Create(ctx, cm, metav1.CreateOptions{FieldManager: inv.manager})
		if err == nil {
			inv.shards[shard] = true
			return nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": annotations, "labels": map[string]string{labelInventory: inv.instance}},
		"data":     data,
	})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = configMaps.Patch(ctx, shard, types.MergePatchType, body, metav1.PatchOptions{FieldManager: inv.manager})
	if apierrors.IsNotFound(err) {
		delete(inv.shards, shard)
		maps.DeleteFunc(inv.where, func(_ object.ObjMetadata, s string) bool { return s == shard })
		return fmt.Errorf("%w: %w", errInventoryLost, err)
	}
	if err == nil {
		inv.shards[shard] = true
	}
	return err
}

// shardOf is the ConfigMap for a new id in an inventory of that many: their number doubles as it grows.
func shardOf(id object.ObjMetadata, count int) string {
	n := uint32(1)
	for int(n)*shardObjects < count {
		n *= 2
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(id.String())) // never fails
	return fmt.Sprintf("%s%d", inventoryName, h.Sum32()%n)
}
