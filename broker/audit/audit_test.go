package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/secret"
)

var key = []byte("a key for tests, 32 bytes long..")

// noon is in another zone than the log's.
func noon() time.Time {
	return time.Date(2026, 3, 1, 13, 0, 0, 123456789, time.FixedZone("CET", 3600))
}

func open(t *testing.T, path string) *audit.Log {
	t.Helper()
	log, err := audit.Open(path, key, noon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

func record(t *testing.T, log *audit.Log, records ...audit.Record) {
	t.Helper()
	if err := log.Record(records...); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "audit.jsonl")
	log := open(t, path)
	value := secret.NewValue([]byte("hunter2"))
	record(t, log, audit.Record{
		Event: audit.Decision, ContainerID: "c1", ContainerName: "shop-db-1", Image: "shop/db:3", Gate: "runtime",
		Kind: audit.File, Name: "password", Ref: "vault:pki/issue/a?b=c&d=e#password",
		Decision: audit.Allow, Reason: `grant "shop" gives it`, Grant: "shop", Version: "7", MAC: log.MAC(value), Stale: true,
	}, audit.Record{Event: audit.Ungated, ContainerID: "c2"})

	want := `{"time":"2026-03-01T12:00:00.123456789Z","event":"decision","container_id":"c1","container_name":"shop-db-1",` +
		`"image":"shop/db:3","gate":"runtime","kind":"file","name":"password","ref":"vault:pki/issue/a?b=c&d=e#password",` +
		`"decision":"allow","reason":"grant \"shop\" gives it","grant":"shop","version":"7",` +
		`"hmac":"` + value.MAC(key) + `","hmac_key":"f120d409","stale":true}` + "\n" +
		`{"time":"2026-03-01T12:00:00.123456789Z","event":"ungated","container_id":"c2"}` + "\n"
	got := read(t, path)
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if strings.Contains(got, "hunter2") {
		t.Error("the value is in the log")
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A record cannot hold a value, whatever is added to it one day.
func TestRecordHasNoPlaceForAValue(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[audit.Record](), reflect.TypeFor[audit.MAC]()} {
		for i := range typ.NumField() {
			switch field := typ.Field(i); {
			case field.Type == reflect.TypeFor[audit.MAC](), field.Type.Kind() == reflect.Bool, field.Type.Kind() == reflect.String:
			default:
				t.Errorf("%s.%s is a %s", typ, field.Name, field.Type)
			}
		}
	}
}

func TestMACTellsEqualValues(t *testing.T) {
	log := open(t, filepath.Join(t.TempDir(), "a"))
	a, b, c := secret.NewValue([]byte("a")), secret.NewValue([]byte("a")), secret.NewValue([]byte("c"))
	if log.MAC(a) != log.MAC(b) || log.MAC(a) == log.MAC(c) {
		t.Error("equal values need equal MACs, others other ones")
	}
}

func TestDiskFull(t *testing.T) {
	log := open(t, "/dev/full")
	err := log.Record(audit.Record{Event: audit.Decision, ContainerID: "c1"})
	if !errors.Is(err, syscall.ENOSPC) ||
		err.Error() != "audit log /dev/full: cannot be written, so nothing is delivered: no space left on device" {
		t.Errorf("error: %v", err)
	}
}

// limitFileSize makes writes beyond size bytes fail, as a full disk does in
// the middle of a write, until the returned func is called.
func limitFileSize(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ) // so that write fails with EFBIG instead
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
}

func TestTornLineIsEndedBeforeTheNextRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log := open(t, path)
	record(t, log, audit.Record{Event: audit.Decision, ContainerID: "c1"})
	lift := limitFileSize(t, uint64(len(read(t, path)))+10)
	errShort := log.Record(audit.Record{Event: audit.Decision, ContainerID: "c2"})
	errNone := log.Record(audit.Record{Event: audit.Decision, ContainerID: "c3"})
	lift()
	if !errors.Is(errShort, syscall.EFBIG) || !errors.Is(errNone, syscall.EFBIG) {
		t.Fatalf("errors: %v, %v", errShort, errNone)
	}
	record(t, log, audit.Record{Event: audit.Decision, ContainerID: "c4"})
	wantLines(t, path, "c1", "(torn)", "c4")
}

func TestTornLineOfAnEarlierRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(`{"container_id":"c1"}`+"\n"+`{"container_id":"c`), 0o640); err != nil {
		t.Fatal(err)
	}
	log := open(t, path)
	record(t, log, audit.Record{ContainerID: "c3"})
	record(t, log, audit.Record{ContainerID: "c4"})
	wantLines(t, path, "c1", "(torn)", "c3", "c4")
}

func wantLines(t *testing.T, path string, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(read(t, path)) {
		var record struct {
			ID string `json:"container_id"`
		}
		if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &record) != nil {
			record.ID = "(torn)"
		}
		got = append(got, record.ID)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("lines %v, want %v", got, want)
	}
}

func TestReopenAfterRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log := open(t, path)
	record(t, log, audit.Record{ContainerID: "c1"})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	record(t, log, audit.Record{ContainerID: "c2"})
	if err := log.Reopen(); err != nil {
		t.Fatal(err)
	}
	record(t, log, audit.Record{ContainerID: "c3"})
	wantLines(t, path+".1", "c1", "c2")
	wantLines(t, path, "c3")
}

func TestReopenThatFailsKeepsTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log := open(t, path)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", path); err != nil {
		t.Fatal(err)
	}
	err := log.Reopen()
	if want := "audit log " + path + ": cannot be opened: it is a symbolic link: name the file itself"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	record(t, log, audit.Record{ContainerID: "c1"})
	wantLines(t, path+".1", "c1")
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:           "cannot be opened: is a directory",
		fifo:          "cannot be used: it is not a regular file",
		file + "/log": "its directory cannot be made: mkdir " + file + ": not a directory",
	} {
		_, err := audit.Open(path, key, noon)
		if err == nil || err.Error() != "audit log "+path+": "+want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestNothingToRecordAndAfterClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log := open(t, path)
	record(t, log)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := log.Record(audit.Record{ContainerID: "c1"}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if got := read(t, path); got != "" {
		t.Errorf("the file has %q", got)
	}
}

// The records of one decision stay together, whoever else writes.
func TestManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log := open(t, path)
	const decisions, records = 50, 5
	var all sync.WaitGroup
	for i := range decisions {
		all.Go(func() {
			batch := make([]audit.Record, records)
			for j := range batch {
				batch[j] = audit.Record{ContainerID: fmt.Sprint("c", i), MAC: log.MAC(secret.NewValue([]byte("v")))}
			}
			if err := log.Record(batch...); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if err := log.Reopen(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	lines := strings.SplitAfter(strings.TrimSuffix(read(t, path), "\n"), "\n")
	if len(lines) != decisions*records {
		t.Fatalf("%d lines, want %d", len(lines), decisions*records)
	}
	for i, line := range lines {
		if first := lines[i-i%records]; strings.TrimSpace(line) != strings.TrimSpace(first) {
			t.Errorf("line %d is %s within the decision of %s", i, line, first)
		}
	}
}

func TestKey(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	keys := make([][]byte, 20)
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], err = audit.Key(dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, k := range keys {
		if len(k) != 32 || !bytes.Equal(k, keys[0]) || bytes.Equal(k, make([]byte, 32)) {
			t.Fatalf("not one good key: %d bytes", len(k))
		}
	}
	info, err := os.Stat(filepath.Join(dir, "audit.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("drafts stay behind: %v, %v", entries, err)
	}
	if other, err := audit.Key(t.TempDir()); err != nil || bytes.Equal(other, keys[0]) {
		t.Errorf("another directory has the same key, or none: %v", err)
	}
}

func TestKeyRefuses(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"short": func(path string) error { return os.WriteFile(path, []byte("short"), 0o600) },
		"readable": func(path string) error {
			return errors.Join(os.WriteFile(path, make([]byte, 32), 0o600), os.Chmod(path, 0o644))
		},
		"fifo": func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.key")
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("reading the key of the audit log: %s is not a file of 32 bytes with mode 0600 that belongs to user %d: "+
			"remove it; records from before cannot be compared with later ones then", path, os.Geteuid())
		if _, err := audit.Key(dir); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := audit.Key(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}
