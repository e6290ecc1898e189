package bootcache_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/bootcache"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/test/sealing"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// writerVariable makes this test's program an agent that writes to a directory
// until it is killed.
const writerVariable = "QUAYMASTER_TEST_WRITES_TO"

// large makes a file take long enough to be written that a kill may hit it.
var large = strings.Repeat("x", 1<<20)

func write(dir string) {
	ref, err := secret.ParseRef("vault:kv/shop/a")
	if err != nil {
		panic(err)
	}
	cache, err := bootcache.Open(context.Background(), bootcache.Options{Dir: dir, Host: "docker-1", MaxStale: maxStale,
		Sealer: sealing.NewMemory("the host's", "docker-1")})
	for n := 0; err == nil; n++ {
		one := secret.Secret{Ref: ref, Fields: map[string]secret.Value{
			"number": secret.NewValue(fmt.Append(nil, n)), "again": secret.NewValue(fmt.Append(nil, large, n))}}
		err = cache.Keep(context.Background(), []secret.Held{{Secret: one, Read: time.Now()}})
		fmt.Println(n)
	}
	panic(err)
}

// An agent that is killed at whatever moment leaves a whole file: what it kept
// last, or what it was about to.
func TestKilledWhileWriting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "boot-cache")
	between := 0
	for range 10 {
		last := killedWriter(t, dir)
		if _, err := os.Stat(filepath.Join(dir, ".held.unfinished")); err == nil {
			between++
		}
		cache, err := bootcache.Open(t.Context(), bootcache.Options{Dir: dir, Host: "docker-1", MaxStale: maxStale,
			Sealer: sealing.NewMemory("the host's", "docker-1")})
		if err != nil {
			t.Fatal(err)
		}
		got, err := cache.Load(t.Context())
		if err != nil || len(got) != 1 {
			t.Fatalf("%d secrets, %v", len(got), err)
		}
		number := string(got[0].Secret.Fields["number"].Reveal()) // a test's own value
		again := string(got[0].Secret.Fields["again"].Reveal())   // a test's own value
		if again != large+number || (number != fmt.Sprint(last) && number != fmt.Sprint(last+1)) {
			t.Errorf("number %s after %d was kept, torn: %v", number, last, again != large+number)
		}
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	}
	if between == 0 {
		t.Error("no kill hit a write")
	}
}

// killedWriter kills an agent as soon as it is seen to write, after it has kept
// something, and returns what it said last that it had kept.
func killedWriter(t *testing.T, dir string) (last int) {
	t.Helper()
	agent := exec.CommandContext(t.Context(), os.Args[0])
	agent.Env = append(os.Environ(), writerVariable+"="+dir)
	out, err := agent.StdoutPipe()
	if err == nil {
		err = agent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	killed := make(chan struct{})
	var killer sync.Once
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Error(err)
		}
		killer.Do(func() {
			go func() {
				defer close(killed)
				for t.Context().Err() == nil {
					if _, err := os.Stat(filepath.Join(dir, ".held.unfinished")); err == nil {
						agent.Process.Kill()
						return
					}
				}
			}()
		})
	}
	agent.Wait() // it was killed
	killer.Do(func() {
		t.Error("it ended by itself")
		close(killed)
	})
	<-killed
	return last
}

// What a crash left half written does no harm and goes with the next write.
func TestUnfinishedFileIsNoFile(t *testing.T) {
	h := newHost(t)
	h.keeps(h.boot(), "one")
	half := h.content()[:50]
	unfinished := filepath.Join(h.dir, ".held.unfinished")
	if err := os.WriteFile(unfinished, half, 0o600); err != nil {
		t.Fatal(err)
	}
	h.loads("one")
	h.keeps(h.boot(), "two")
	if _, err := os.Lstat(unfinished); !os.IsNotExist(err) {
		t.Error("it is still there: ", err)
	}
	h.loads("two")
}
