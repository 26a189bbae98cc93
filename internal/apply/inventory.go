package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
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
	// inventoryApps holds what is enforced of each app; see AppRecord.
	inventoryApps = inventoryName + "apps"
	// shardObjects is how many records go into one ConfigMap at most. The API server works through all of it for a
	// change of one record (12 ms of CPU at 300 records, 6 at 130, 2 at one), and a sync of everything
	// patches every ConfigMap.
	shardObjects = 200
	// shardsAtOnce is how many ConfigMaps are written side by side.
	shardsAtOnce = 4
)

// Inventory stores records in ConfigMaps of the agent's namespace. The id of an object decides
// which; a record that is already elsewhere (there were fewer shards once) stays where it is until
// it changes, so all shards are always read. What is enforced of each app is in a ConfigMap of its own.
//
// Each write notes the commit that is head. Save is for one goroutine at a time; the other methods may be called
// beside it.
type Inventory struct {
	client    kubernetes.Interface
	namespace string
	instance  string
	manager   string

	shards map[string]bool               // the ConfigMaps that exist
	where  map[object.ObjMetadata]string // which one holds a record

	head stamps
	apps appRecords
}

// stamps tells what commit is head, and which one the cluster has on record.
type stamps struct {
	mu     sync.Mutex
	commit string
	// recorded was written at that time, the newest that was.
	recorded   string
	recordedAt time.Time
}

// stamp is what a write notes. Of two writes the later stamp has the later commit, whichever arrives first.
func (s *stamps) stamp() (commit string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commit, time.Now()
}

// written notes that a stamp is in the cluster.
func (s *stamps) written(commit string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.recordedAt) {
		s.recorded, s.recordedAt = commit, at
	}
}

// NewInventory returns the inventory of an instance in a namespace. Load it before anything else.
func NewInventory(client kubernetes.Interface, namespace, instance, manager string) *Inventory {
	return &Inventory{client: client, namespace: namespace, instance: instance, manager: manager}
}

// Stored is what an inventory holds.
type Stored struct {
	// Records are those of the objects.
	Records map[object.ObjMetadata]Record
	// Apps are those of the apps; nil if there are none, which says nothing about any app.
	Apps map[string]AppRecord
	// Commit was head when the inventory was last written; "" if it never was.
	Commit string
}

// Load reads everything. A record that cannot be read is an error: to go on without it would disown its
// object.
func (inv *Inventory) Load(ctx context.Context) (Stored, error) {
	list, err := inv.client.CoreV1().ConfigMaps(inv.namespace).List(ctx, metav1.ListOptions{LabelSelector: labelInventory + "=" + inv.instance})
	if err != nil {
		return Stored{}, fmt.Errorf("read the inventory in namespace %s: %w", inv.namespace, err)
	}
	stored := Stored{Records: map[object.ObjMetadata]Record{}}
	inv.shards, inv.where = map[string]bool{}, map[object.ObjMetadata]string{}
	var errs []error
	latest := ""
	for i := range list.Items {
		cm := &list.Items[i]
		if t := cm.Annotations[annotationTime]; t > latest {
			latest, stored.Commit = t, cm.Annotations[annotationCommit]
		}
		if cm.Name == inventoryApps {
			if stored.Apps, err = decodeAppRecords(cm.Data); err != nil {
				errs = append(errs, fmt.Errorf("ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err))
			}
			continue
		}
		inv.shards[cm.Name] = true
		for key, value := range cm.Data {
			id, r, err := decodeRecord(key, value)
			if err != nil {
				errs = append(errs, fmt.Errorf("ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err))
				continue
			}
			stored.Records[id] = r
			inv.where[id] = cm.Name
		}
	}
	inv.apps.loaded(stored.Apps)
	inv.head.commit, inv.head.recorded = stored.Commit, stored.Commit
	return stored, errors.Join(errs...)
}

// SetHead says which commit is head from now on: every write notes it.
func (inv *Inventory) SetHead(commit string) {
	inv.head.mu.Lock()
	defer inv.head.mu.Unlock()
	inv.head.commit = commit
}

// RecordHead makes sure that the commit that is head is on record in the cluster, by one write if it is not:
// what is said by that commit holds after a restart too.
func (inv *Inventory) RecordHead(ctx context.Context) error {
	inv.head.mu.Lock()
	done := inv.head.recorded == inv.head.commit
	inv.head.mu.Unlock()
	if done {
		return nil
	}
	inv.apps.mu.Lock()
	defer inv.apps.mu.Unlock()
	return inv.writeApps(ctx, nil)
}

// errInventoryLost: somebody deleted a ConfigMap of the inventory. What it held besides what was to be
// saved is known to the Engine alone, which has to save everything again.
var errInventoryLost = errors.New("a part of the inventory was deleted")

// Save stores a batch, as one small patch per ConfigMap concerned. It may be repeated after an error.
func (inv *Inventory) Save(ctx context.Context, b Batch) error {
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
	shards := slices.Sorted(maps.Keys(data))
	errs := make([]error, len(shards))
	var group errgroup.Group
	group.SetLimit(shardsAtOnce)
	for i, shard := range shards {
		exists := inv.shards[shard]
		group.Go(func() error {
			// No answer is a failure, or nothing would ever be saved again. The server gives up within a minute, so
			// what is late is not under way any more when it is repeated.
			ctx, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			errs[i] = inv.write(ctx, shard, exists, data[shard])
			return nil
		})
	}
	_ = group.Wait() // errs has them all
	for i, shard := range shards {
		switch {
		case errs[i] == nil:
			inv.shards[shard] = true
			for id, s := range placed {
				switch {
				case s != shard:
				case b[id] == nil:
					delete(inv.where, id)
				default:
					inv.where[id] = shard
				}
			}
			continue
		case errors.Is(errs[i], errInventoryLost):
			delete(inv.shards, shard)
			maps.DeleteFunc(inv.where, func(_ object.ObjMetadata, s string) bool { return s == shard })
		}
		errs[i] = inv.failed(shard, errs[i])
	}
	return errors.Join(errs...)
}

func (inv *Inventory) failed(configMap string, err error) error {
	return fmt.Errorf("write inventory ConfigMap %s/%s: %w", inv.namespace, configMap, err)
}

// write stores the records of one ConfigMap. It may run beside others.
func (inv *Inventory) write(ctx context.Context, shard string, exists bool, data map[string]any) (err error) {
	commit, now := inv.head.stamp()
	defer func() {
		if err == nil {
			inv.head.written(commit, now)
		}
	}()
	annotations := map[string]string{annotationCommit: commit, annotationTime: now.UTC().Format("2006-01-02T15:04:05.000000000Z")}
	client := inv.client.CoreV1().RESTClient()
	if !exists {
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
		err := client.Post().Namespace(inv.namespace).Resource("configmaps").Param("fieldManager", inv.manager).
			SetHeader("Accept", metadataOnly).Body(cm).Do(ctx).Error()
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"annotations": annotations, "labels": map[string]string{labelInventory: inv.instance},
			// Nobody shares these ConfigMaps with us. Without this, the server would note of every key whose it is,
			// which takes it a third longer and as much room again.
			"managedFields": []any{map[string]any{}},
		},
		"data": data,
	})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	// The answer would be the whole ConfigMap, hundreds of times as large as the patch.
	err = client.Patch(types.MergePatchType).Namespace(inv.namespace).Resource("configmaps").Name(shard).
		Param("fieldManager", inv.manager).SetHeader("Accept", metadataOnly).Body(body).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: %w", errInventoryLost, err)
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
