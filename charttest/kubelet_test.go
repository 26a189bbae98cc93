package charttest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/holdfast-dev/holdfast/localcluster"
)

// kubelet does for one pod what a node would: it mounts what the pod mounts, fetches a token of the pod's
// ServiceAccount, and runs the container's arguments with the container's environment. The image is a binary on
// this machine. What a process without a container cannot have is translated, and nothing else:
//
//   - a path below a mount path becomes one in a folder of the test;
//   - the container's port becomes a free port on loopback, as a pod has an address of its own;
//   - the ServiceAccount's token and the cluster's CA are at a fixed path that only a container has, so a
//     kubeconfig with just these two, in KUBECONFIG, stands in for them.
type kubelet struct {
	cluster *localcluster.Cluster
	client  kubernetes.Interface
	pod     *corev1.Pod
	root    string
	port    string // of the container's only port, on loopback

	process *exec.Cmd
	log     *syncBuffer
	exited  chan struct{}
}

// runPod runs a pod's only container until the test ends.
func runPod(t *testing.T, cluster *localcluster.Cluster, client kubernetes.Interface, pod *corev1.Pod, binary string) *kubelet {
	t.Helper()
	k := &kubelet{cluster: cluster, client: client, pod: pod, root: t.TempDir(), log: &syncBuffer{}, exited: make(chan struct{})}
	k.port = freePort(t)
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) > 0 {
		t.Fatalf("the pod has %d containers and %d init containers, want one", len(pod.Spec.Containers), len(pod.Spec.InitContainers))
	}
	container := &pod.Spec.Containers[0]
	if len(container.Command) > 0 {
		t.Fatalf("the container replaces the image's entry point by %v", container.Command)
	}
	for _, mount := range container.VolumeMounts {
		k.mount(t, mount)
	}
	k.process = exec.Command(binary, k.arguments(container)...) //nolint:gosec // the binary that the test has built
	k.process.Env = k.environment(t, container)
	k.process.Dir = k.root
	k.process.Stdout, k.process.Stderr = k.log, k.log
	if err := k.process.Start(); err != nil {
		t.Fatalf("start the agent: %v", err)
	}
	go func() {
		defer close(k.exited)
		_ = k.process.Wait() // how it ended is in its log, and in ProcessState
	}()
	t.Cleanup(func() {
		k.stop(t)
		if t.Failed() {
			t.Logf("the agent's log:\n%s", k.log)
		}
	})
	return k
}

// stop ends the container as a node does: SIGTERM, and SIGKILL after the grace period.
func (k *kubelet) stop(t *testing.T) {
	t.Helper()
	select {
	case <-k.exited:
		return
	default:
	}
	if err := k.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("end the agent: %v", err)
	}
	grace := time.Duration(*k.pod.Spec.TerminationGracePeriodSeconds) * time.Second
	select {
	case <-k.exited:
	case <-time.After(grace):
		t.Errorf("the agent still runs %s after SIGTERM", grace)
		if err := k.process.Process.Kill(); err != nil {
			t.Errorf("kill the agent: %v", err)
		}
		<-k.exited
	}
}

// mount puts a volume's content where the container looks for it.
func (k *kubelet) mount(t *testing.T, mount corev1.VolumeMount) {
	t.Helper()
	dir := filepath.Join(k.root, mount.MountPath)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(k.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
	if i < 0 {
		t.Fatalf("volume %q is mounted and not declared", mount.Name)
	}
	volume := k.pod.Spec.Volumes[i]
	switch {
	case volume.EmptyDir != nil, volume.PersistentVolumeClaim != nil:
		if mount.ReadOnly {
			t.Errorf("volume %q is empty and read-only", mount.Name)
		}
	case volume.Secret != nil:
		secret, err := k.client.CoreV1().Secrets(k.pod.Namespace).Get(t.Context(), volume.Secret.SecretName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		k.write(t, dir, secret.Data)
	case volume.ConfigMap != nil:
		config, err := k.client.CoreV1().ConfigMaps(k.pod.Namespace).Get(t.Context(), volume.ConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		data := map[string][]byte{}
		for key, value := range config.Data {
			data[key] = []byte(value)
		}
		k.write(t, dir, data)
	case volume.Projected != nil:
		k.project(t, dir, volume.Projected)
	default:
		t.Fatalf("volume %q is of a kind that this test does not know", mount.Name)
	}
}

// write lays files out as the kubelet does: links to ..data, which is a link to the present version.
func (k *kubelet) write(t *testing.T, dir string, data map[string][]byte) {
	t.Helper()
	const version = "..2026_11_20"
	if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(version, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for name, content := range data {
		if err := os.WriteFile(filepath.Join(dir, version, name), content, 0o400); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// project fills the volume that the API server adds to every pod: token, CA and namespace.
func (k *kubelet) project(t *testing.T, dir string, projected *corev1.ProjectedVolumeSource) {
	t.Helper()
	data := map[string][]byte{}
	for _, source := range projected.Sources {
		switch {
		case source.ServiceAccountToken != nil:
			request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
				ExpirationSeconds: source.ServiceAccountToken.ExpirationSeconds,
				BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: k.pod.Name, UID: k.pod.UID},
			}}
			if audience := source.ServiceAccountToken.Audience; audience != "" {
				request.Spec.Audiences = []string{audience}
			}
			token, err := k.client.CoreV1().ServiceAccounts(k.pod.Namespace).
				CreateToken(t.Context(), k.pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			data[source.ServiceAccountToken.Path] = []byte(token.Status.Token)
		case source.ConfigMap != nil:
			ca, err := os.ReadFile(k.cluster.CAFile())
			if err != nil {
				t.Fatal(err)
			}
			data["ca.crt"] = ca
		case source.DownwardAPI != nil:
			data["namespace"] = []byte(k.pod.Namespace)
		}
	}
	k.write(t, dir, data)
}

// arguments are the container's own, with the paths of mounts and the port translated.
func (k *kubelet) arguments(container *corev1.Container) []string {
	args := slices.Clone(container.Args)
	for i, arg := range args {
		args[i] = k.translate(arg, container)
	}
	return args
}

func (k *kubelet) translate(text string, container *corev1.Container) string {
	flag, value, ok := strings.Cut(text, "=")
	if !ok {
		flag, value = "", text
	}
	for _, mount := range container.VolumeMounts {
		if value == mount.MountPath || strings.HasPrefix(value, mount.MountPath+"/") {
			value = filepath.Join(k.root, value)
			break
		}
	}
	if value == fmt.Sprintf(":%d", container.Ports[0].ContainerPort) {
		value = net.JoinHostPort("127.0.0.1", k.port)
	}
	if !ok {
		return value
	}
	return flag + "=" + value
}

// environment is what a container gets: the declared variables, the API server's address, and nothing of this process.
func (k *kubelet) environment(t *testing.T, container *corev1.Container) []string {
	t.Helper()
	const token = "/var/run/secrets/kubernetes.io/serviceaccount"
	if len(container.EnvFrom) > 0 {
		t.Fatal("this test does not know envFrom")
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(k.cluster.URL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"KUBERNETES_SERVICE_HOST=" + host,
		"KUBERNETES_SERVICE_PORT=" + port,
		"KUBECONFIG=" + k.kubeconfig(t, filepath.Join(k.root, token)),
	}
	for _, variable := range container.Env {
		value := strings.ReplaceAll(variable.Value, "$(KUBERNETES_SERVICE_HOST)", host)
		if source := variable.ValueFrom; source != nil {
			if source.ResourceFieldRef == nil || source.ResourceFieldRef.Resource != "limits.memory" {
				t.Fatalf("this test does not know where %s comes from: %+v", variable.Name, source)
			}
			value = fmt.Sprint(container.Resources.Limits.Memory().Value())
		}
		env = append(env, variable.Name+"="+k.translate(value, container))
	}
	return env
}

// kubeconfig writes one that holds no more than what a pod has: the address, the CA and the token's file.
func (k *kubelet) kubeconfig(t *testing.T, dir string) string {
	t.Helper()
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"in": {Server: k.cluster.URL(), CertificateAuthority: filepath.Join(dir, "ca.crt")}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"in": {TokenFile: filepath.Join(dir, "token")}},
		Contexts:       map[string]*clientcmdapi.Context{"in": {Cluster: "in", AuthInfo: "in"}},
		CurrentContext: "in",
	}
	path := filepath.Join(k.root, "kubeconfig")
	if err := clientcmd.WriteToFile(config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// probe does what a probe of the container does, once, and returns the HTTP status; 0 if nobody answers.
func (k *kubelet) probe(ctx context.Context, probe *corev1.Probe) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+k.port+probe.HTTPGet.Path, http.NoBody)
	if err != nil {
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close() // nothing of it is read
	return response.StatusCode
}

// alive is an error once the agent has ended.
func (k *kubelet) alive() error {
	select {
	case <-k.exited:
		return fmt.Errorf("the agent has ended: %s", k.process.ProcessState)
	default:
		return nil
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

// syncBuffer is a buffer that a process writes to while the test reads it.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
