package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Names of the images with real applications, as compose files have them.
// There is one image under all of these names: what is in it is Debian's, in
// the version of the machine that made it.
const (
	NginxImage    = "nginx:1.27"             // nginx, openssl and curl
	PostgresImage = "postgres:16"            // psql, but no server
	JavaImage     = "eclipse-temurin:17-jre" // java and keytool
)

// appPackages are what the image holds beside Debian's minimal system.
var appPackages = []string{"nginx-light", "postgresql-client", "openssl", "curl", "default-jre-headless"}

// appFlags leave out what no test looks at. Debian's Java registers its manual
// pages, and cannot be installed where there is no place for them. nginx logs
// where `docker logs` looks, and serves what a test mounts into conf.d only.
var appFlags = []string{
	"--variant=minbase", "--mode=root", "--format=tar", "--quiet",
	`--aptopt=Acquire::Languages "none"`,
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/lib/jvm/*/lib/ct.sym",
	`--essential-hook=mkdir -p "$1/usr/share/man/man1"`,
	`--customize-hook=rm -f "$1/etc/nginx/sites-enabled/default"`,
	`--customize-hook=ln -sf /dev/stdout "$1/var/log/nginx/access.log" && ln -sf /dev/stderr "$1/var/log/nginx/error.log"`,
}

// ImportApps imports the image with real applications, under its names, if the
// engine has none yet. The first time on a machine it is made, in a minute.
func (e *Engine) ImportApps(ctx context.Context) error {
	names := []string{PostgresImage, JavaImage} // beside NginxImage
	if _, err := e.client.ImageInspect(ctx, names[len(names)-1]); err == nil {
		return nil
	}
	path, err := Apps(ctx)
	if err != nil {
		return err
	}
	tarball, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the image of applications: %w", err)
	}
	defer tarball.Close()
	err = e.Import(ctx, NginxImage, bufio.NewReaderSize(tarball, 1<<20), "ENV PATH="+searchPath, `CMD ["nginx", "-g", "daemon off;"]`)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := e.client.ImageTag(ctx, NginxImage, name); err != nil {
			return fmt.Errorf("name the image of applications %s: %w", name, err)
		}
	}
	return nil
}

// Apps is the path of the tarball of the image with real applications, made
// by mmdebstrap if this recipe has not been yet.
func Apps(ctx context.Context) (string, error) {
	suite, err := debianSuite("/etc/os-release")
	if err != nil {
		return "", err
	}
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.GOARCH, suite, appPackages, strings.Join(appFlags, "\n"))
	path := filepath.Join(dir, fmt.Sprintf("apps-%x.tar", hash.Sum(nil)[:8]))
	unlock, err := lock(ctx, "apps")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, makeApps(ctx, suite, path)
}

// makeApps makes the tarball from the package sources that this machine uses
// itself, and renames it when it is whole.
func makeApps(ctx context.Context, suite, path string) error {
	mmdebstrap, err := find("mmdebstrap")
	if err != nil {
		return fmt.Errorf("make the image of applications: %w", err)
	}
	sources, err := aptSources("/etc/apt")
	if err != nil {
		return err
	}
	settings, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%F \"%v\";%n", "Acquire").Output()
	if err != nil {
		return fmt.Errorf("ask apt for its settings: %w", err)
	}
	args := append([]string{"--include=" + strings.Join(appPackages, ",")}, appFlags...)
	for _, setting := range networkSettings(settings) {
		args = append(args, "--aptopt="+setting)
	}
	unfinished := path + ".unfinished"
	cmd := exec.CommandContext(ctx, mmdebstrap, append(append(args, suite, unfinished), sources...)...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("make the image of applications: %w:\n%s", err, said), os.Remove(unfinished))
	}
	if err := os.Rename(unfinished, path); err != nil {
		return fmt.Errorf("keep the image of applications: %w", err)
	}
	return nil
}

// networkSettings are those of apt's settings, one a line, that say how this
// machine reaches its package sources. mmdebstrap takes none of them by itself.
func networkSettings(dump []byte) []string {
	var settings []string
	for line := range strings.Lines(string(dump)) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries "} {
			if strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, `"";`) {
				settings = append(settings, line)
				break
			}
		}
	}
	return settings
}

// aptSources are the files that name the package sources of this machine.
func aptSources(dir string) ([]string, error) {
	var files []string
	for _, pattern := range []string{"sources.list", "sources.list.d/*.list", "sources.list.d/*.sources"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern)) // these patterns cannot be bad
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there are no package sources in %s: the images of real applications are made from Debian's packages", dir)
	}
	return files, nil
}

// debianSuite is the release of Debian, or of what is made of it, that the
// machine runs: its VERSION_CODENAME (os-release(5)).
func debianSuite(osRelease string) (string, error) {
	content, err := os.ReadFile(osRelease)
	if err != nil {
		return "", fmt.Errorf("find out which Debian this is: %w", err)
	}
	for line := range bytes.Lines(content) {
		if name, found := bytes.CutPrefix(bytes.TrimSpace(line), []byte("VERSION_CODENAME=")); found {
			return strings.Trim(string(name), `"'`), nil
		}
	}
	return "", fmt.Errorf("%s names no VERSION_CODENAME: the images of real applications are made from Debian's packages", osRelease)
}
