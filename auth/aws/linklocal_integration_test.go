//go:build integration

package aws_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// inside tells the test binary that it runs in a network namespace of its own.
const inside = "QUAYMASTER_TEST_TASK"

// TestTaskWithoutAnyOverride attests as it is done in a container of ECS: in a
// network namespace in which 169.254.170.2 and 169.254.169.254 really answer,
// with the one variable that ECS sets.
func TestTaskWithoutAnyOverride(t *testing.T) {
	if os.Getenv(inside) == "" {
		again := exec.Command(os.Args[0], "-test.run", "^TestTaskWithoutAnyOverride$", "-test.v")
		for _, entry := range os.Environ() {
			if !strings.HasPrefix(entry, "AWS_") && !strings.HasPrefix(entry, "ECS_") {
				again.Env = append(again.Env, entry)
			}
		}
		again.Env = append(again.Env, inside+"=yes")
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := again.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "attested as arn:aws:iam::123456789012:role/docker-task (role of this container)") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"}, {"address", "add", "169.254.169.254/32", "dev", "lo"}, {"address", "add", "169.254.170.2/32", "dev", "lo"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	account := awssim.NewAccount("123456789012", cloudsim.NewEnvironment(nil, nil))
	account.AddRole("/", "docker-host")
	account.AddRole("/", "docker-task")
	instance := awssim.NewIMDS(account, awssim.Instance{ID: "i-0abc", Region: "eu-west-1", Role: "docker-host"})
	task := awssim.NewTaskMetadata(account, awssim.Task{Region: "eu-west-1", Role: "docker-task"})
	for address, handler := range map[string]http.Handler{"169.254.169.254:80": instance, "169.254.170.2:80": task} {
		server, err := cloudsim.Start(handler, cloudsim.Options{Address: address})
		must(t, err)
		t.Cleanup(func() { server.Close() })
	}
	t.Setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", task.CredentialsPath())
	evidence, err := attest(t, aws.Options{}, "vault.internal")
	must(t, err)
	t.Logf("attested as %s", evidence.Principal)
}
