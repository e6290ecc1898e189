package detect_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// serveWithTTL serves with packets that have so many hops left.
func serveWithTTL(t *testing.T, handler http.Handler, ttl int) string {
	t.Helper()
	listen := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		controlErr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TTL, ttl) })
		return errors.Join(err, controlErr)
	}}
	listener, err := listen.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// TestReach: how far answers go is told by their TTL, and for answers without a
// session by there being any.
func TestReach(t *testing.T) {
	for name, c := range map[string]struct {
		cloud   detect.Cloud
		service http.Handler
		ttl     int
		want    detect.Reach
	}{
		"hop limit 1":       {detect.AWS, ec2(), 1, detect.HostOnly},
		"hop limit 2":       {detect.AWS, ec2(), 2, detect.Farther},
		"no session needed": {detect.AWS, withMode(awssim.TokensOptional), 1, detect.Sessionless},
		"no such bound":     {detect.GCP, gceVM, 1, detect.Untold},
		"none either":       {detect.Azure, azureVM, 1, detect.Untold},
	} {
		o := elsewhere(t)
		o.Endpoints[c.cloud] = serveWithTTL(t, c.service, c.ttl)
		got, err := detect.Look(t.Context(), c.cloud, o)
		if got.Reach != c.want || err != nil || got.Address != o.Endpoints[c.cloud] {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func withMode(mode awssim.Mode) http.Handler {
	service := ec2()
	service.SetMode(mode)
	return service
}

func TestLookTellsTheTime(t *testing.T) {
	service := ec2()
	service.SetSkew(-time.Hour)
	o := elsewhere(t)
	o.Endpoints[detect.AWS] = serve(t, service)
	found, err := detect.Look(t.Context(), detect.AWS, o)
	ahead, told := found.Clock.Ahead()
	if err != nil || !told || !found.Clock.Wrong() || (ahead-time.Hour).Abs() > time.Minute {
		t.Errorf("%s ahead (%v), %v", ahead, told, err)
	}
}

// TestLookSaysWhatIsWrong: whether waiting may mend it is told apart.
func TestLookSaysWhatIsWrong(t *testing.T) {
	off, throttled := ec2(), ec2()
	off.Set(awssim.TokenPath, awssim.TurnedOff)
	throttled.Set(awssim.TokenPath, awssim.Throttled)
	for name, c := range map[string]struct {
		base string
		want error
	}{
		"turned off":    {serve(t, off), auth.ErrNoIdentity},
		"not there":     {nowhere, auth.ErrNoIdentity},
		"throttled":     {serve(t, throttled), auth.ErrUnavailable},
		"another cloud": {serve(t, gceVM), auth.ErrNoIdentity},
	} {
		o := elsewhere(t)
		o.Endpoints[detect.AWS] = c.base
		if got, err := detect.Look(t.Context(), detect.AWS, o); !errors.Is(err, c.want) || got.Address != c.base {
			t.Errorf("%s: %v at %s", name, err, got.Address)
		}
	}
	o := elsewhere(t)
	o.Getenv = func(name string) string { return map[string]string{"AWS_EC2_METADATA_DISABLED": "TRUE"}[name] }
	if _, err := detect.Look(t.Context(), detect.AWS, o); !errors.Is(err, auth.ErrNoIdentity) {
		t.Errorf("disabled by a variable: %v", err)
	}
}

// TestFindSaysWhy: people want to know what made the host take itself for one of
// a cloud.
func TestFindSaysWhy(t *testing.T) {
	o := elsewhere(t)
	o.Endpoints[detect.AWS] = serve(t, ec2())
	found, err := detect.Find(t.Context(), o)
	if want := "aws metadata service at " + o.Endpoints[detect.AWS] + ": answered as it should"; found.By != want || err != nil {
		t.Errorf("%q, %v", found.By, err)
	}
	o.Getenv = func(name string) string { return map[string]string{"GCE_METADATA_HOST": "x"}[name] }
	if found, err := detect.Find(t.Context(), o); found.By != "the variable GCE_METADATA_HOST" || err != nil {
		t.Errorf("%q, %v", found.By, err)
	}
}
