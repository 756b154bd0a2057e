// A kube-apiserver with its etcd in one process, for the tests in e2e/real.
//
// apiserver DIRECTORY PORT [FLAG ...]: serve on 127.0.0.1:PORT and keep everything in DIRECTORY,
// the administrator's kubeconfig too; flags go to kube-apiserver. Once it is ready, it says so by a
// line of JSON on standard output. SIGTERM ends it. Started again in the same directory, it has the
// same objects, certificate and token.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const (
	// Between two looks whether it is ready.
	pause = 50 * time.Millisecond
	// How long it may take to answer.
	patience = 5 * time.Second
	// A line of the token file: token, user, uid, groups.
	administrator = "%s,admin,admin,system:masters\n"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: apiserver DIRECTORY PORT [FLAG ...]")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve returns when a signal has ended the server, or with the reason why it could not start.
func serve(directory, port string, more []string) error {
	began := time.Now()
	command := app.NewAPIServerCommand() // from here on it takes the signals
	in := func(name string) string { return filepath.Join(directory, name) }
	token, err := once(in("token"), newToken)
	if err != nil {
		return err
	}
	users := fmt.Appendf(nil, administrator, token)
	if err := os.WriteFile(in("tokens.csv"), users, 0o600); err != nil {
		return err
	}
	if _, err := once(in("service-accounts.key"), newKey); err != nil {
		return err
	}
	etcd, err := startEtcd(in("etcd"))
	if err != nil {
		return err
	}
	defer etcd.Close()

	command.SetArgs(append([]string{
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1", // else it looks for one by the default route
		"--secure-port=" + port,
		"--cert-dir=" + in("certificates"),
		"--etcd-servers=http://" + etcd.Clients[0].Addr().String(),
		"--authorization-mode=RBAC",
		"--token-auth-file=" + in("tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + in("service-accounts.key"),
		"--service-account-signing-key-file=" + in("service-accounts.key"),
		"--service-cluster-ip-range=10.0.0.0/24",
		// Nobody looks for it by the Service `kubernetes`, whose endpoint may not be on loopback.
		"--endpoint-reconciler-type=none",
	}, more...))
	access := &rest.Config{
		Host:            "https://127.0.0.1:" + port,
		BearerToken:     string(token),
		TLSClientConfig: rest.TLSClientConfig{CAFile: in("certificates/apiserver.crt")},
		Timeout:         patience, // a server that only begins may leave a request unanswered
	}
	go announce(access, in("kubeconfig"), began)
	return command.Execute()
}

func startEtcd(directory string) (*embed.Etcd, error) {
	config := embed.NewConfig()
	config.Dir = directory
	config.EnableGRPCGateway = false // it would dial the advertised port 0 for ever
	config.LogLevel = "error"        // its warnings are of each request
	config.UnsafeNoFsync = true      // it need not outlive the machine
	anywhere := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.ListenClientUrls, config.AdvertiseClientUrls = anywhere, anywhere
	config.ListenPeerUrls, config.AdvertisePeerUrls = anywhere, anywhere
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		etcd.Close()
		return nil, err
	}
}

// announce writes the kubeconfig and says that the server is ready, once it is.
func announce(access *rest.Config, kubeconfig string, began time.Time) {
	for !ready(access) {
		time.Sleep(pause)
	}
	if err := clientcmd.WriteToFile(describe(access), kubeconfig); err != nil {
		panic(err)
	}
	line, err := json.Marshal(map[string]any{
		"kubeconfig": kubeconfig,
		"seconds":    time.Since(began).Seconds(),
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// ready tells whether all checks pass and the namespace `default` is there, which comes later. The
// certificate that is needed to ask is made by the server.
func ready(access *rest.Config) bool {
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return false
	}
	ctx := context.Background()
	if client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() != nil {
		return false
	}
	_, err = client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
	return err == nil
}

func describe(access *rest.Config) clientcmdapi.Config {
	const name = "e2e"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{
		Server:               access.Host,
		CertificateAuthority: access.CAFile,
	}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: access.BearerToken}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return *config
}

// once returns what is in a file, which it makes if it is not there yet.
func once(path string, create func() ([]byte, error)) ([]byte, error) {
	content, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	if content, err = create(); err != nil {
		return nil, err
	}
	return content, os.WriteFile(path, content, 0o600)
}

func newToken() ([]byte, error) {
	return []byte(rand.Text()), nil
}

func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}), nil
}
