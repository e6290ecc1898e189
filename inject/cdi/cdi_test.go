package cdi_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/inject/cdi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const whole = `{
  "cdiVersion": "0.6.0",
  "kind": "quaymaster.dev/secrets",
  "devices": [
    {
      "name": "shop-db",
      "containerEdits": {
        "mounts": [
          {
            "hostPath": "RUN/memory/placeholder",
            "containerPath": "/run/secrets",
            "type": "bind",
            "options": [
              "bind",
              "ro",
              "nosuid",
              "nodev",
              "noexec",
              "rprivate"
            ]
          }
        ],
        "hooks": [
          {
            "hookName": "createRuntime",
            "path": "/usr/bin/quaymaster-runtime",
            "args": [
              "quaymaster-runtime",
              "--quaymaster-run",
              "RUN",
              "--quaymaster-gate-timeout",
              "30s",
              "cdi-hook",
              "--profile",
              "shop-db"
            ]
          }
        ]
      }
    }
  ]
}
`

func options(t *testing.T) cdi.Options {
	t.Helper()
	run := t.TempDir()
	if err := os.Mkdir(filepath.Join(run, "memory"), 0o711); err != nil {
		t.Fatal(err)
	}
	return cdi.Options{Dir: filepath.Join(t.TempDir(), "cdi"), Hook: "/usr/bin/quaymaster-runtime", Run: run, Timeout: 30 * time.Second,
		Profiles: map[string]string{"shop-db": "/run/secrets"}}
}

func TestWrite(t *testing.T) {
	o := options(t)
	name := filepath.Join(o.Dir, "quaymaster.json")
	if err := cdi.Write(o); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(o.Run, "memory/placeholder")); err != nil || info.Mode() != 0o755|os.ModeDir {
		t.Errorf("the placeholder: %v, %v", info.Mode(), err)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != strings.ReplaceAll(whole, "RUN", o.Run) {
		t.Errorf("the file has %s, %v", text, err)
	}
	o.Profiles["a"] = "/etc/a"
	if err := cdi.Write(o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Devices []struct{ Name string } }
	if err := json.Unmarshal(text, &file); err != nil || len(file.Devices) != 2 || file.Devices[0].Name != "a" {
		t.Errorf("two profiles: %s, %v", text, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(o.Dir); err != nil || len(entries) != 1 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
	o.Profiles = nil
	for range 2 {
		if err := cdi.Write(o); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without profiles: %v", err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*cdi.Options){
		`profile "shop db"`:         func(o *cdi.Options) { o.Profiles["shop db"] = "/x" },
		`profile "-a"`:              func(o *cdi.Options) { o.Profiles["-a"] = "/x" },
		`profile "a."`:              func(o *cdi.Options) { o.Profiles["a."] = "/x" },
		`profile ""`:                func(o *cdi.Options) { o.Profiles[""] = "/x" },
		`profile "a": path "x"`:     func(o *cdi.Options) { o.Profiles["a"] = "x" },
		`profile "a": path "/"`:     func(o *cdi.Options) { o.Profiles["a"] = "/" },
		`profile "a": path "/x/.."`: func(o *cdi.Options) { o.Profiles["a"] = "/x/.." },
		`hook "quaymaster-runtime"`: func(o *cdi.Options) { o.Hook = "quaymaster-runtime" },
		`run directory "run"`:       func(o *cdi.Options) { o.Run = "run" },
		"memory filesystem":         func(o *cdi.Options) { o.Run = "/proc/none" },
		"write the devices":         func(o *cdi.Options) { o.Dir = "/dev/null/cdi" },
	} {
		o := options(t)
		if err := cdi.Write(o); err != nil {
			t.Fatal(err)
		}
		old, content := filepath.Join(o.Dir, cdi.FileName), strings.ReplaceAll(whole, "RUN", o.Run)
		spoil(&o)
		if err := cdi.Write(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if text, err := os.ReadFile(old); err != nil || string(text) != content {
			t.Errorf("%s: the old file has %s, %v", want, text, err)
		}
	}
}
