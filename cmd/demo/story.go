package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// status asks an agent how it stands.
func (site *site) status(ctx context.Context) (status.Report, error) {
	var r status.Report
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+site.address+"/api/v1/status", http.NoBody)
	if err != nil {
		return r, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, nil // not listening yet
	}
	defer res.Body.Close() //nolint:errcheck // read only
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("status of %s: %w", site.name, err)
	}
	return r, nil
}

// settled waits until every agent has seen a commit and all its apps are Ready.
func (s *stage) settled(ctx context.Context, commit string) error {
	return s.until(ctx, "every app Ready", func() (string, error) {
		for _, site := range s.sites {
			r, err := site.status(ctx)
			if err != nil {
				return "", err
			}
			if r.Commit != commit || len(r.Apps) == 0 {
				return fmt.Sprintf("%s has not seen commit %.12s", site.name, commit), nil
			}
			for _, a := range here(r) {
				if !a.Ready || a.Placement != commit || len(a.Held) > 0 {
					return fmt.Sprintf("%s: app %s is not Ready: %v %v", site.name, a.Name, a.Errors, a.Held), nil
				}
			}
		}
		return "", nil
	})
}

// here are the apps that a cluster has or is to have, without those of which it only says that they run elsewhere.
func here(r status.Report) []status.App {
	return slices.DeleteFunc(r.Apps, func(a status.App) bool { return !a.Here() })
}

// overlays shows that each cluster got its own.
func (s *stage) overlays(ctx context.Context) error {
	s.title("Each cluster renders its own overlay from its labels, and applies it")
	head, err := s.repo.Head("main") //nolint:contextcheck // quick and local
	if err != nil {
		return err
	}
	start := time.Now()
	if err := s.settled(ctx, head); err != nil {
		return err
	}
	s.say("   All apps are Ready everywhere after %s.\n", rounded(time.Since(start)))
	s.say("   %-10s %-8s %5s %8s  %-24s %s", "CLUSTER", "REGION", "APPS", "OBJECTS", "SHOP'S ADDRESS", "ASKS FOR COOKIES")
	for _, site := range s.sites {
		r, err := site.status(ctx)
		if err != nil {
			return err
		}
		objects, apps := 0, here(r)
		for _, a := range apps {
			objects += a.Objects
		}
		cm, err := site.clients.Kubernetes.CoreV1().ConfigMaps("storefront").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.say("   %-10s %-8s %5d %8d  %-24s %s", site.name, cm.Data["REGION"], len(apps), objects, cm.Data["PUBLIC_HOST"], cm.Data["COOKIE_CONSENT"])
		if cm.Data["REGION"] != site.region || cm.Data["CLUSTER"] != site.name {
			return fmt.Errorf("the storefront of %s thinks that it is in %s", site.name, cm.Data["REGION"])
		}
		if want := fmt.Sprint(site.region == "eu-west"); cm.Data["COOKIE_CONSENT"] != want {
			return fmt.Errorf("COOKIE_CONSENT of %s is %s, not %s", site.name, cm.Data["COOKIE_CONSENT"], want)
		}
	}
	return nil
}

// push changes one object of each cluster and counts what that cost.
func (s *stage) push(ctx context.Context) error {
	s.title(`git push: the shop's banner, one line of one ConfigMap`)
	if err := s.calm(ctx); err != nil { // the books of the first sync are not this commit's
		return err
	}
	marks, err := s.marks()
	if err != nil {
		return err
	}
	const banner = "Winter sale: 20% off"
	if err := s.edit("apps/shop/storefront/base/config.yaml", "Free delivery this week", banner); err != nil {
		return err
	}
	sha, start, err := s.gitPush(ctx, "Announce the winter sale")
	if err != nil {
		return err
	}
	if err := s.until(ctx, "the new banner", func() (string, error) {
		for _, site := range s.sites {
			cm, err := site.clients.Kubernetes.CoreV1().ConfigMaps("storefront").Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			if site.region != "eu-west" && cm.Data["BANNER"] != banner {
				return site.name + " has the old one", nil
			}
		}
		return "", nil
	}); err != nil {
		return err
	}
	s.say("   Live in us-east-1 and us-west-2 %s after the push began (by webhook; by polling, up to 15 s later).", rounded(time.Since(start)))
	s.say("   The overlay of eu-west has a banner of its own, so nothing changes there.\n")
	if err := s.settled(ctx, sha); err != nil {
		return err
	}
	return s.tellCost(marks, "storefront/web", []int{1, 1, 0})
}

// calm waits until the agents have sent nothing for two seconds.
func (s *stage) calm(ctx context.Context) error {
	last, since := -1, time.Now()
	return s.until(ctx, "agents that have nothing more to write", func() (string, error) {
		n := 0
		for _, site := range s.sites {
			all, err := site.cluster.Requests(0)
			if err != nil {
				return "", err
			}
			for _, r := range all {
				if strings.HasPrefix(r.UserAgent, "holdfast/") && r.Verb != "watch" {
					n++
				}
			}
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return "they still write", nil
		}
		return "", nil
	})
}

func (s *stage) marks() ([]localcluster.Mark, error) {
	marks := make([]localcluster.Mark, len(s.sites))
	for i, site := range s.sites {
		var err error
		if marks[i], err = site.cluster.Mark(); err != nil {
			return nil, err
		}
	}
	return marks, nil
}

// tellCost reads from the API servers' audit logs what the agents sent: the PATCH of the object where
// it changed, and the bookkeeping.
func (s *stage) tellCost(marks []localcluster.Mark, object string, want []int) error {
	for i, site := range s.sites {
		all, err := site.cluster.Requests(marks[i])
		if err != nil {
			return err
		}
		patches, books, others := 0, 0, []string{}
		for _, r := range all {
			if !strings.HasPrefix(r.UserAgent, "holdfast/") || r.Verb == "watch" {
				continue
			}
			switch {
			case r.Verb == "patch" && r.Namespace+"/"+r.Name == object:
				patches++
			case r.Resource.Resource == "appstatuses", r.Resource.Resource == "events", r.Namespace == "holdfast-system":
				books++
			default:
				others = append(others, r.String())
			}
		}
		s.say("   %-10s requests by the API server's audit log: %d PATCH of the object, %d to keep the books, %d for anything else", site.name, patches, books, len(others))
		if patches != want[i] || len(others) > 0 {
			return fmt.Errorf("%s: %d patches of the object where %d were due, and %v", site.name, patches, want[i], others)
		}
	}
	return nil
}

// drift edits a Deployment by hand and watches it being put back.
func (s *stage) drift(ctx context.Context) error {
	s.title("Somebody edits a Deployment by hand, as with kubectl edit")
	site := s.sites[2]
	deployments := site.clients.Kubernetes.AppsV1().Deployments("storefront")
	before, err := deployments.Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	good := before.Spec.Template.Spec.Containers[0].Image
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":%q,"image":"example.com/mistake:latest"}]}}}}`, before.Spec.Template.Spec.Containers[0].Name)
	w, err := deployments.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=web", ResourceVersion: before.ResourceVersion})
	if err != nil {
		return err
	}
	defer w.Stop()
	if _, err := deployments.Patch(ctx, "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		return err
	}
	start := time.Now()
	s.say("   %s  image of deployment storefront/web is now example.com/mistake:latest", site.name)
	if err := s.until(ctx, "the image put back", func() (string, error) {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-w.ResultChan():
		case <-time.After(20 * time.Millisecond):
		}
		d, err := deployments.Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if d.Spec.Template.Spec.Containers[0].Image != good {
			return "it is " + d.Spec.Template.Spec.Containers[0].Image, nil
		}
		return "", nil
	}); err != nil {
		return err
	}
	s.say("   %s  put back to %s after %s", site.name, good, rounded(time.Since(start)))
	return s.until(ctx, "the drift reported", func() (string, error) {
		r, err := site.status(ctx)
		if err != nil {
			return "", err
		}
		for _, a := range r.Apps {
			if a.Name == "storefront" && a.Drift.Corrected > 0 {
				return "", nil
			}
		}
		return "no correction is counted", nil
	})
}

// ready reads how many replicas of checkout, which the whole of production shares, are ready in each cluster. It reads
// until two readings in a row are the same, so that there was a moment at which all of it was true at once.
func (s *stage) ready(ctx context.Context) ([]int32, error) {
	var last []int32
	for {
		var now []int32
		for _, site := range s.sites {
			d, err := site.clients.Kubernetes.AppsV1().Deployments("checkout").Get(ctx, "checkout", metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				now = append(now, 0)
			case err != nil:
				return nil, err
			default:
				now = append(now, d.Status.ReadyReplicas)
			}
		}
		if slices.Equal(now, last) {
			return now, nil
		}
		last = now
	}
}

// least is the smallest total that was seen, and how often was looked.
type least struct {
	total int32
	looks int
}

// checkoutTotal is what fleet.yaml's owners want to have ready at every moment.
const checkoutTotal = 12

// waitReplicas waits until so many replicas of checkout are ready in each cluster, tells each change, and notes the
// least that was ready in total.
func (s *stage) waitReplicas(ctx context.Context, seen *least, want ...int32) error {
	last := ""
	return s.until(ctx, fmt.Sprintf("ready replicas %v", want), func() (string, error) {
		ready, err := s.ready(ctx)
		if err != nil {
			return "", err
		}
		total := int32(0)
		line := ""
		for i, site := range s.sites {
			line += fmt.Sprintf("%s %-4d", site.name, ready[i])
			total += ready[i]
		}
		if seen.looks++; seen.looks == 1 || total < seen.total {
			seen.total = total
		}
		if now := fmt.Sprint(ready); now != last {
			s.say("   ready replicas of checkout:  %s  total %d", line, total)
			last = now
		}
		if last != fmt.Sprint(want) {
			return "they are " + last, nil
		}
		return "", nil
	})
}

// tellLeast says what the total never fell below, and fails if that was too little.
func (s *stage) tellLeast(seen *least) error {
	if seen.total < checkoutTotal {
		return fmt.Errorf("only %d replicas of checkout were ready in total", seen.total)
	}
	s.say("   Looked %d times: never fewer than %d were ready in total.", seen.looks, seen.total)
	return nil
}

const (
	noDrain = "  drain: []"
	oneLine = "  drain: [{clusterSelector: {matchLabels: {region: us-east}}, reason: power}]"
)

// drain moves everything out of us-east by one line.
func (s *stage) drain(ctx context.Context) error {
	s.title("us-east fails over: one line of fleet.yaml")
	seen := &least{}
	if err := s.waitReplicas(ctx, seen, 6, 4, 2); err != nil {
		return err
	}
	s.say("\n   -%s\n   +%s\n", noDrain, oneLine)
	if err := s.edit("fleet.yaml", "\n"+noDrain, "\n"+oneLine); err != nil {
		return err
	}
	_, start, err := s.gitPush(ctx, "Drain us-east: power")
	if err != nil {
		return err
	}
	if err := s.waitReplicas(ctx, seen, 0, 8, 4); err != nil {
		return err
	}
	s.say("   us-east-1 lets go %s after the push began: when the others have been Ready with all 12 for 3 s\n"+
		"   (failover.soak), which it reads in Git.", rounded(time.Since(start)))
	if err := s.tellLeast(seen); err != nil {
		return err
	}
	kept, err := s.kept(ctx)
	if err != nil {
		return err
	}
	s.say("   us-east-1 keeps only what is never deleted without a permit: %s.", kept)
	return nil
}

// kept lists what a drained cluster still has of ours, by kind.
func (s *stage) kept(ctx context.Context) (string, error) {
	text := ""
	err := s.until(ctx, "us-east-1 is empty", func() (string, error) {
		pods, err := s.sites[0].clients.Kubernetes.AppsV1().Deployments("").List(ctx, metav1.ListOptions{LabelSelector: "holdfast.dev/instance=holdfast-system"})
		if err != nil {
			return "", err
		}
		if n := len(pods.Items); n > 0 {
			return fmt.Sprintf("it still has %d Deployments", n), nil
		}
		ns, err := s.sites[0].clients.Kubernetes.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: "holdfast.dev/instance=holdfast-system"})
		if err != nil {
			return "", err
		}
		text = fmt.Sprintf("%d Namespaces, and CRDs and volume claims where there are any", len(ns.Items))
		return "", nil
	})
	return text, err
}

// restore removes the line again.
func (s *stage) restore(ctx context.Context) error {
	s.title("Power is back: the line is removed")
	if err := s.edit("fleet.yaml", "\n"+oneLine, "\n"+noDrain); err != nil {
		return err
	}
	_, start, err := s.gitPush(ctx, "Restore us-east")
	if err != nil {
		return err
	}
	seen := &least{}
	if err := s.waitReplicas(ctx, seen, 6, 4, 2); err != nil {
		return err
	}
	s.say("   Everything is back where it was %s after the push began.", rounded(time.Since(start)))
	return s.tellLeast(seen)
}

// brokenTakeover drains us-east while us-west cannot take its share: us-east goes on serving until it can.
func (s *stage) brokenTakeover(ctx context.Context) error {
	s.title("us-east is drained again, but us-west has no room: its nodes are cordoned")
	west := s.sites[1]
	if err := west.cordon(ctx, true); err != nil {
		return err
	}
	if err := s.edit("fleet.yaml", "\n"+noDrain, "\n"+oneLine); err != nil {
		return err
	}
	_, start, err := s.gitPush(ctx, "Drain us-east once more")
	if err != nil {
		return err
	}
	seen := &least{}
	if err := s.waitReplicas(ctx, seen, 6, 4, 4); err != nil {
		return err
	}
	reason := ""
	if err := s.until(ctx, "us-east-1 says what it waits for", func() (string, error) {
		r, err := s.sites[0].status(ctx)
		if err != nil {
			return "", err
		}
		for _, a := range r.Apps {
			for _, h := range a.Held {
				if a.Name == "checkout" && strings.Contains(h.Reason, "us-west-2 has 4 of its 8 replicas ready") {
					reason = fmt.Sprintf("%s since %s: %s", h.Gate, h.Since.Format(time.TimeOnly), h.Reason)
					return "", nil
				}
			}
		}
		return "it does not", nil
	}); err != nil {
		return err
	}
	s.say("\n   us-east-1 keeps serving, for as long as it takes, and says why:\n%s\n", wrapped("   checkout is held by "+reason, 100))
	if err := west.cordon(ctx, false); err != nil {
		return err
	}
	s.say("   us-west's nodes are uncordoned:")
	if err := s.waitReplicas(ctx, seen, 0, 8, 4); err != nil {
		return err
	}
	s.say("   us-east-1 has let go, %s after the push began.", rounded(time.Since(start)))
	return s.tellLeast(seen)
}

// cordon keeps new Pods off a cluster's nodes, or lets them again.
func (site *site) cordon(ctx context.Context, on bool) error {
	nodes := site.clients.Kubernetes.CoreV1().Nodes()
	list, err := nodes.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%v}}`, on)
		if _, err := nodes.Patch(ctx, list.Items[i].Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// wrapped breaks a text into lines of at most width characters.
func wrapped(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		if column == 0 || column+1+len(word) > width {
			if column > 0 {
				b.WriteString("\n")
			}
			b.WriteString("  ")
			column = 2
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	return b.String()
}

func (s *stage) end() {
	s.say("\nDone: every line above was checked against the clusters. The story took %s after the build.", rounded(time.Since(s.began)))
}

// tellKept says what to try while everything keeps running.
func (s *stage) tellKept() {
	s.say("\nEverything keeps running until Ctrl-C. Things to try:\n")
	for _, site := range s.sites {
		s.say("   kubectl --kubeconfig %s get appstatuses", site.cluster.Kubeconfig())
	}
	s.say("\n   cd %s        # a clone: edit, git commit, git push (the agents poll every 15 s)", s.clone)
	for _, site := range s.sites {
		s.say("   curl http://%s/api/v1/status   # %s; also /metrics", site.address, site.name)
	}
	s.say("   tail -f %s/*.log", s.dir)
}
