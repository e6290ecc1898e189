package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// kindOf is a type of resource, of data source, or the provider itself.
type kindOf struct{ kind, name string } // resource, data, provider

var (
	listed = regexp.MustCompile(`(?m)^(resource|data) ([a-z0-9]+)(_[a-z0-9_]+)$`)
	inCode = regexp.MustCompile(`(?m)^(resource|data) "([a-z0-9]+)(_[a-z0-9_]+)" "`)
)

// usedTypes are, by provider, the types in the list and in all .tf files below
// the directories.
func usedTypes(list string, directories ...string) (map[string]map[kindOf]bool, error) {
	used := map[string]map[kindOf]bool{}
	for name := range packages {
		used[name] = map[kindOf]bool{{"provider", name}: true}
	}
	add := func(pattern *regexp.Regexp, path string) error {
		text, err := os.ReadFile(path)
		for _, match := range pattern.FindAllStringSubmatch(string(text), -1) {
			if used[match[2]] != nil {
				used[match[2]][kindOf{match[1], match[2] + match[3]}] = true
			}
		}
		return err
	}
	if err := add(listed, list); err != nil {
		return nil, err
	}
	for _, directory := range directories {
		err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist) && path == directory:
				return nil
			case err != nil || entry.IsDir() || filepath.Ext(path) != ".tf":
				return err
			}
			return add(inCode, path)
		})
		if err != nil {
			return nil, err
		}
	}
	return used, nil
}

// pack has npm put a package into the cache, unless it is there, and returns
// its archive and the digest of that, as npm writes it.
func pack(ctx context.Context, name string) (archive, integrity string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	cache = filepath.Join(cache, "quaymaster", "bindings")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", "", err
	}
	archive = filepath.Join(cache, strings.NewReplacer("@", "-", "/", "-").Replace(name[1:])+".tgz") // npm's own name for it
	if _, err := os.Stat(archive); err != nil {
		command := exec.CommandContext(ctx, "npm", "pack", "--ignore-scripts", "--pack-destination", cache, name)
		if said, err := command.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("npm pack %s: %w: %s", name, err, said)
		}
	}
	content, err := os.ReadFile(archive)
	digest := sha512.Sum512(content)
	return archive, "sha512-" + base64.StdEncoding.EncodeToString(digest[:]), err
}

var (
	binding = regexp.MustCompile(`^package/lib/([a-z0-9-]+)/index\.js$`)
	class   = regexp.MustCompile(`(?m)^class \w+ extends cdktf\.Terraform(Resource|DataSource|Provider) \{`)
	ofType  = regexp.MustCompile(`(?m)^\w+\.tfResourceType = "([a-z0-9_]+)";$`)
	kinds   = map[string]string{"Resource": "resource", "DataSource": "data", "Provider": "provider"}
)

// pick reads those files of an archive that bind the wanted types, all of
// which must be there, and the version of the provider.
func pick(archive string, wanted map[kindOf]bool) (files map[kindOf]string, version string, err error) {
	files = map[kindOf]string{}
	err = walk(archive, func(name string, content []byte) error {
		if name == "package/package.json" {
			version, err = providerVersion(content)
			return err
		}
		is, of := class.FindSubmatch(content), ofType.FindSubmatch(content)
		if !binding.MatchString(name) || is == nil || of == nil {
			return nil
		}
		if kind := (kindOf{kinds[string(is[1])], string(of[1])}); wanted[kind] {
			files[kind] = string(content)
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", archive, err)
	}
	for kind := range wanted {
		if _, found := files[kind]; !found {
			return nil, "", fmt.Errorf("the provider has no %s %s", kind.kind, kind.name)
		}
	}
	return files, version, nil
}

func walk(archive string, each func(name string, content []byte) error) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if name := entry.Name; name != "package/package.json" && !binding.MatchString(name) {
			continue
		}
		var content bytes.Buffer
		if _, err := content.ReadFrom(entries); err != nil {
			return err
		}
		if err := each(entry.Name, content.Bytes()); err != nil {
			return err
		}
	}
}

func providerVersion(manifest []byte) (string, error) {
	var read struct {
		CDKTF struct{ Provider struct{ Version string } }
	}
	if err := json.Unmarshal(manifest, &read); err != nil || read.CDKTF.Provider.Version == "" {
		return "", fmt.Errorf("package.json does not say the provider's version: %w", err)
	}
	return read.CDKTF.Provider.Version, nil
}
