//go:build packages

// Package packaging_test builds the packages and uses them as an administrator
// does, in a Debian made for it: what is in them, what installing, upgrading and
// removing them does and leaves alone. No systemd runs there: what the scripts
// would have it do is written down by a program in systemctl's place.
package packaging_test

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the lists of files anew")

// built is the directory with the packages under test.
var built string

// TestMain builds the packages, unless QUAYMASTER_PACKAGES names a directory
// that has them.
func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if built = os.Getenv("QUAYMASTER_PACKAGES"); built == "" {
		dir, err := os.MkdirTemp("", "packages")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if err := buildInto(dir); err != nil {
			panic(err)
		}
		built = dir
	}
	return m.Run()
}

func buildInto(dir string) error {
	build := exec.Command("./build.sh", dir)
	build.Stderr = os.Stderr
	return build.Run()
}

// one is the package whose name ends so.
func one(t *testing.T, dir, suffix string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages that end in %s: %v, %v", suffix, found, err)
	}
	return found[0]
}

func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	command := exec.Command(program, args...)
	command.Stderr = &stderr
	command.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// suffixes are what the names of the four packages end in.
var suffixes = []string{"_amd64.deb", "_arm64.deb", ".x86_64.rpm", ".aarch64.rpm"}

// TestTheSameCommitGivesTheSameBytes builds once more.
func TestTheSameCommitGivesTheSameBytes(t *testing.T) {
	again := t.TempDir()
	if err := buildInto(again); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range suffixes {
		first, err := os.ReadFile(one(t, built, suffix))
		if err != nil {
			t.Fatal(err)
		}
		if second, err := os.ReadFile(one(t, again, suffix)); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s: two builds differ (%v)", suffix, err)
		}
	}
}

// TestFiles compares modes, owners and names with the lists in testdata.
func TestFiles(t *testing.T) {
	for _, suffix := range suffixes {
		t.Run(suffix, func(t *testing.T) {
			list, golden := rpmFiles, "testdata/rpm.files"
			if strings.HasSuffix(suffix, "deb") {
				list, golden = debFiles, "testdata/deb.files"
			}
			got := list(t, one(t, built, suffix))
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != string(want) {
				t.Errorf("%v; got\n%s\nwant\n%s", err, got, want)
			}
		})
	}
}

// debFiles leaves out size and time of each line of tar.
func debFiles(t *testing.T, path string) string {
	var list strings.Builder
	for line := range strings.Lines(output(t, "dpkg-deb", "--contents", path)) {
		fields := strings.Fields(line)
		list.WriteString(strings.Join(append(fields[:2:2], fields[5:]...), " ") + "\n")
	}
	return list.String()
}

func rpmFiles(t *testing.T, path string) string {
	return output(t, "rpm", "-qp", "--nosignature", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES} %{FILEFLAGS:fflags}\n]", path)
}

// TestLintian: Debian's own checks find nothing that is not explained in
// deb/lintian-overrides.
func TestLintian(t *testing.T) {
	for _, suffix := range suffixes[:2] {
		said, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", one(t, built, suffix)).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, said)
		}
	}
}

// TestThePackageSaysWhatItIs: the words of the files that others read.
func TestThePackageSaysWhatItIs(t *testing.T) {
	about := output(t, "dpkg-deb", "--field", one(t, built, "_arm64.deb"))
	for _, want := range []string{"Package: quaymaster\n", "Architecture: arm64\n", "Section: admin\n", "Recommends: docker.io | docker-ce", "static\n credential lies anywhere"} {
		if !strings.Contains(about, want) {
			t.Errorf("without %q:\n%s", want, about)
		}
	}
	if about := output(t, "rpm", "-qp", "--nosignature", "--qf", "%{LICENSE} %{BUILDHOST}", one(t, built, ".aarch64.rpm")); about != "Apache-2.0 localhost" {
		t.Errorf("rpm: %s", about)
	}
}
