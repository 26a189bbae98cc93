package localcluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// auditPolicy records every request once it is complete, by Metadata only: bodies would
// put Secrets into the log. A request that stays open (a watch) is recorded when
// it starts as well, since it may never complete.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// etcd's addresses are socket files in the cluster's folder, which is the working directory
// of the servers. The form with a port is what etcd's flags accept for them; the
// short relative path also keeps clear of the limit on the length of such a path.
const (
	etcdClientURL = "unix://etcd-client:0"
	etcdPeerURL   = "unix://etcd-peer:0"
)

// etcdArgs leave out fsync: the data of these clusters need not survive a power cut.
func etcdArgs() []string {
	return []string{
		"--name=localcluster", "--data-dir=etcd", "--log-level=warn", "--unsafe-no-fsync",
		"--listen-client-urls=" + etcdClientURL, "--advertise-client-urls=" + etcdClientURL,
		"--listen-peer-urls=" + etcdPeerURL, "--initial-advertise-peer-urls=" + etcdPeerURL,
		"--initial-cluster=localcluster=" + etcdPeerURL,
		"--quota-backend-bytes=8589934592",
	}
}

func (c *Cluster) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=" + etcdClientURL,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", c.port), "--permit-port-sharing",
		// The address would be refused as an endpoint of the service "kubernetes".
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged",
		"--authorization-mode=Node,RBAC",
		"--tls-cert-file=pki/apiserver.crt", "--tls-private-key-file=pki/apiserver.key", "--client-ca-file=pki/ca.crt",
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=pki/sa.key", "--service-account-signing-key-file=pki/sa.key",
		"--requestheader-client-ca-file=pki/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=pki/front-proxy.crt", "--proxy-client-key-file=pki/front-proxy.key",
		"--enable-aggregator-routing",
		"--audit-policy-file=audit-policy.yaml", "--audit-log-path=audit.log", "--audit-log-mode=blocking",
		"--audit-log-maxsize=1000000", // never rotated: the reader follows one file
		"--profiling=false",
	}
	if c.options.Bare {
		args = append(args, "--disable-admission-plugins=ServiceAccount")
	}
	return append(args, c.options.APIServerFlags...)
}

// unthrottled lifts the limit of 20 requests a second, which would keep the controllers busy for
// seconds at every start, and hold up the rollouts that tests wait for.
var unthrottled = []string{"--kube-api-qps=1000", "--kube-api-burst=2000"}

// startControllers starts what a full cluster has besides etcd and the API server.
func (c *Cluster) startControllers() error {
	managers := []struct {
		name, user string
		groups     []string
		args       []string
	}{
		{"kube-controller-manager", "system:kube-controller-manager", nil, append([]string{
			"--leader-elect=false", "--secure-port=0", "--profiling=false",
			"--use-service-account-credentials", "--root-ca-file=pki/ca.crt",
			"--service-account-private-key-file=pki/sa.key",
			"--allocate-node-cidrs=false",
		}, unthrottled...)},
		{"kube-scheduler", "system:kube-scheduler", nil, append([]string{
			"--leader-elect=false", "--secure-port=0", "--profiling=false",
		}, unthrottled...)},
		{"kwok", "kwok", []string{"system:masters"}, append([]string{
			"--manage-all-nodes", "--node-port=0", "--node-lease-duration-seconds=40",
		}, c.stageFlags()...)},
	}
	for _, m := range managers {
		pair, err := c.ca.client(m.user, m.groups...)
		if err != nil {
			return err
		}
		kubeconfig := filepath.Join(c.dir, "users", m.name+".kubeconfig")
		if err := c.writeKubeconfig(kubeconfig, m.user, certificateUser(pair)); err != nil {
			return err
		}
		s, err := c.startServer(m.name, append(m.args, "--kubeconfig="+kubeconfig)...)
		if err != nil {
			return err
		}
		c.controllers = append(c.controllers, s)
	}
	return nil
}

func (c *Cluster) stageFlags() []string {
	flags := make([]string, 0, len(stages))
	for _, s := range stages {
		flags = append(flags, "--config="+filepath.Join(c.bin, filepath.Base(s)))
	}
	return flags
}

func (c *Cluster) writeAuditPolicy() error {
	if err := os.WriteFile(filepath.Join(c.dir, "audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("write the audit policy: %w", err)
	}
	return nil
}
