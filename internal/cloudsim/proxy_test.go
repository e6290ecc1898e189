package cloudsim_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// led is a client that trusts authority and is led to a server by a proxy.
func led(t *testing.T, authority *cloudsim.Authority, to string) *http.Client {
	t.Helper()
	proxy, err := url.Parse(start(t, cloudsim.Proxy{To: to}, cloudsim.Options{}).URL())
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(authority.PEM())
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trust}}}
}

func TestProxyLeadsToTheStandIn(t *testing.T) {
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	host := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })
	at := strings.TrimPrefix(start(t, host, cloudsim.Options{Authority: authority, Names: []string{"cloud.example"}}).URL(), "https://")
	response, err := led(t, authority, at).Get("https://cloud.example/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "cloud.example" {
		t.Errorf("%q, %v", body, err)
	}
	if _, err := led(t, authority, at).Get("https://other.example/"); err == nil || !strings.Contains(err.Error(), "not other.example") {
		t.Errorf("a name that the certificate lacks: %v", err)
	}
	if _, err := led(t, authority, "127.0.0.1:1").Get("https://cloud.example/"); err == nil || !strings.Contains(err.Error(), "Bad Gateway") {
		t.Errorf("a server that is not there: %v", err)
	}
	if status, _, err := get(t, start(t, cloudsim.Proxy{To: at}, cloudsim.Options{}).URL(), nil); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d, %v", status, err)
	}
}

// A server that closes ends what goes through it; the test would hang if not.
func TestProxyEndsWithItsServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	server, err := cloudsim.Start(cloudsim.Proxy{To: silent.Addr().String()}, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "CONNECT cloud.example:443 HTTP/1.1\r\nHost: cloud.example:443\r\n\r\n")
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	io.Copy(io.Discard, answers)
}
