package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseSettings(t *testing.T) {
	defaults := settings{socket: "/run/quaymaster/runtime.sock", run: "/run/quaymaster", runc: "runc", timeout: 30 * time.Second}
	changed := settings{socket: "/q/runtime.sock", run: "/q", runc: "/usr/sbin/runc", timeout: 90 * time.Second}
	version := defaults
	version.printVersion = true
	for line, want := range map[string]struct {
		settings settings
		rest     string
	}{
		"":                       {defaults, ""},
		"--root /r create --x c": {defaults, "--root /r create --x c"},
		"--quaymaster-run /q --quaymaster-runc /usr/sbin/runc --quaymaster-gate-timeout 1m30s state c":   {changed, "state c"},
		"--quaymaster-run=/q/ --quaymaster-runc=/usr/sbin/runc --quaymaster-gate-timeout=90s --debug ps": {changed, "--debug ps"},
		"--quaymaster-version":         {version, ""},
		"create --quaymaster-run /q c": {defaults, "create --quaymaster-run /q c"},
	} {
		got, rest, err := parseSettings(strings.Fields(line))
		if err != nil || got != want.settings || strings.Join(rest, " ") != want.rest {
			t.Errorf("%q: %+v, %q, %v", line, got, rest, err)
		}
	}
	for line, want := range map[string]string{
		"--quaymaster-run":                       "--quaymaster-run needs a value",
		"--quaymaster-runc= create c":            "--quaymaster-runc needs a value",
		"--quaymaster-run q create c":            "--quaymaster-run needs an absolute path, not q",
		"--quaymaster-gate-timeout 30 create c":  "--quaymaster-gate-timeout needs a duration such as 30s, not 30",
		"--quaymaster-gate-timeout=-1s create c": "--quaymaster-gate-timeout needs a duration such as 30s, not -1s",
		"--quaymaster-shoe 1 create c":           "--quaymaster-shoe is no flag of quaymaster-runtime",
	} {
		_, rest, err := parseSettings(strings.Fields(line))
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "daemon.json") {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
		if strings.HasSuffix(line, "create c") && strings.Join(rest, " ") != "create c" {
			t.Errorf("%q leaves %q", line, rest)
		}
	}
}

func TestParseCall(t *testing.T) {
	docker := call{command: "create", log: "/b/log.json", logFormat: "json", root: "/var/run/docker/runtime-runc/moby", bundle: "/b", pidFile: "/b/init.pid", id: "4f1c"}
	least := call{command: "create", root: "/run/runc", bundle: ".", id: "4f1c"}
	other := func(command string) call { return call{command: command, root: "/run/runc", bundle: "."} }
	for line, want := range map[string]call{
		"--root /var/run/docker/runtime-runc/moby --log /b/log.json --log-format json --systemd-cgroup create --bundle /b --pid-file /b/init.pid 4f1c": docker,
		"--root=/var/run/docker/runtime-runc/moby --log=/b/log.json --log-format=json create --bundle=/b --pid-file=/b/init.pid --no-pivot 4f1c":       docker,
		"-root /var/run/docker/runtime-runc/moby -log /b/log.json -log-format json create -b /b -console-socket /c -pid-file /b/init.pid 4f1c":         docker,
		"--debug --criu run --rootless auto --new value --newer --newest=1 create 4f1c":                                                                least,
		"--flag create 4f1c":              least,
		"create --preserve-fds 3 -- 4f1c": least,
		"create -- --bundle 4f1c":         least,
		"run --detach --keep -b /x web":   {command: "run", root: "/run/runc", bundle: "/x", id: "web"},
		"create --bundle /x":              {command: "create", root: "/run/runc", bundle: ".", id: "/x"}, // runc refuses it
		"create":                          other("create"),
		"create --help":                   other("create"),
		"start 4f1c":                      {command: "start", root: "/run/runc", bundle: ".", id: "4f1c"},
		"delete --force 4f1c":             {command: "delete", root: "/run/runc", bundle: ".", id: "4f1c"},
		"--version":                       other(""),
		"--log":                           other(""),
		"":                                other(""),
		"shoe create 4f1c":                other(""),
	} {
		if got := parseCall(strings.Fields(line)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v\nwant %+v", line, got, want)
		}
	}
}

func TestParseExec(t *testing.T) {
	with := func(process string, at int) call {
		return call{command: "exec", root: "/run/runc", bundle: ".", id: "4f1c", process: process, processAt: at}
	}
	docker := with("/tmp/runc-process1", 8)
	docker.root, docker.log, docker.logFormat = "/r", "/b/log.json", "json"
	for line, want := range map[string]call{
		"--root /r --log /b/log.json --log-format json exec --process /tmp/runc-process1 --detach --pid-file /b/1.pid 4f1c": docker,
		"exec -p /f 4f1c":                                  with("/f", 2),
		"exec --process=/f 4f1c":                           with("/f", 1),
		"exec -t -d=true --user 1:2 -process /f -- 4f1c":   with("/f", 6),
		"exec --newer --process /f 4f1c":                   with("/f", 3),
		"exec --process /f --newer 4f1c":                   with("/f", 2),
		"exec --preserve-fds 3 --process /f 4f1c sh -p /g": with("/f", 4),
		"exec 4f1c sh -p /f":                               with("", 0),
		"exec -e A=1 4f1c --process /f":                    with("", 0),
	} {
		if got := parseCall(strings.Fields(line)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v\nwant %+v", line, got, want)
		}
	}
	for _, line := range []string{"exec", "exec --process", "exec --process /f", "exec --", "exec -p /f --"} {
		if got := parseCall(strings.Fields(line)); got.id != "" && got.process != "" {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestCreates(t *testing.T) {
	for line, want := range map[string]bool{"create c": true, "run c": true, "create": false, "start c": false, "restore c": false, "--help": false} {
		if got := parseCall(strings.Fields(line)).creates(); got != want {
			t.Errorf("%q creates: %v", line, got)
		}
	}
}

func FuzzArguments(f *testing.F) {
	f.Add("--quaymaster-run /q --root /r --log=/l create --bundle /b 4f1c")
	f.Add("--log /b/log.json exec --tty --process /p --preserve-fds=1 -- 4f1c sh")
	f.Add("exec -p=/p 4f1c")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		_, rest, _ := parseSettings(args)
		if !strings.HasSuffix(line, strings.Join(rest, " ")) {
			t.Fatalf("%q leaves %q", line, rest)
		}
		c := parseCall(rest)
		if c.creates() && c.id != rest[len(rest)-1] {
			t.Fatalf("%q creates %q", line, c.id)
		}
		if c.process != "" && !strings.HasSuffix(rest[c.processAt], c.process) {
			t.Fatalf("%q: the process %q is not at %d", line, c.process, c.processAt)
		}
	})
}

func TestLogLine(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 7, time.UTC)
	const message = "quaymaster: container \"web\"\nis \\ refused"
	for format, want := range map[string]string{
		"json": `{"level":"error","msg":"quaymaster: container \"web\"\nis \\ refused","time":"2031-02-03T04:05:06Z"}` + "\n",
		"text": `time="2031-02-03T04:05:06Z" level=error msg="quaymaster: container \"web\"\nis \\ refused"` + "\n",
		"":     `time="2031-02-03T04:05:06Z" level=error msg="quaymaster: container \"web\"\nis \\ refused"` + "\n",
	} {
		if got := string(logLine(format, message, at)); got != want {
			t.Errorf("%q: %s", format, got)
		}
	}
}

func TestInMemory(t *testing.T) {
	for dir, want := range map[string]bool{"/dev/shm": true, "/dev/shm/not/there/yet": true, "/proc": false, "/proc/none": false, "": false, "/dev/null/x": false} {
		if got := inMemory(dir); got != want {
			t.Errorf("inMemory(%q) is %v", dir, got)
		}
	}
}

func TestLabelStates(t *testing.T) {
	id := strings.Repeat("4f1c", 16)
	for text, want := range map[string]labelState{
		`{"ID":"` + id + `","Config":{"Labels":{}}}`:                                   never,
		`{"ID":"` + id + `","Config":{"Labels":{"quaymaster.secret.a":"vault:kv/a"}}}`: labelled,
		`{"ID":"` + id + `","Config":{"Labels":{"my.quaymaster.a":"x"}}}`:              unlikely,
		`{"ID":"` + id + `","Config":{"Labels":null,"Env":["A=quaymaster.x"]}}`:        unlikely,
		`{"ID":"` + id + `","Config":{"Env":["A=quaymaster.x"]}}`:                      unknown,
		`{"ID":"` + id + `","Config":{"Labels":["quaymaster.x"]}}`:                     unknown,
		`{"ID":"other ` + id + `","Config":{"Labels":{},"Env":["A=quaymaster.x"]}}`:    unknown,
		`{"ID":"` + id + `","Config":{"Labels":{"quaymaster.secret.a":"vault:k`:        unknown,
		`{"ID":"other","Config":{"Labels":{}}}`:                                        unknown,
		``:                                                                             unknown,
	} {
		dir := t.TempDir()
		writeFile(t, dir+"/config.v2.json", text)
		if got := readWorkload(dir, id).labels; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, dir := range []string{"", t.TempDir(), "/dev/null"} {
		if got := readWorkload(dir, id).labels; got != unknown {
			t.Errorf("engine directory %q: %v", dir, got)
		}
	}
}
