package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/auth/machine"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/bootcache"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject/memfs"
)

// handOn leaves what is held to the agent that comes next, in memory that the
// supervisor keeps. Where there is none, the next one reads everything anew.
func handOn(c config.Config, host *supervisor, b *broker.Broker, log *slog.Logger) {
	if swaps, err := memfs.SwapIsOn(); err != nil || swaps && !c.AllowSwap { // nobody keeps its pages from it
		return
	}
	held := b.Held()
	content := bootcache.Encode(held)
	for _, h := range held {
		h.Secret.Wipe()
	}
	defer clear(content)
	if err := host.keep(heldName, content); err != nil && !errors.Is(err, errNoStore) {
		log.Warn("the next agent will read everything anew", "error", err)
	}
}

// takeOver is what the agent before this one held.
func takeOver(host *supervisor, log *slog.Logger) []secret.Held {
	content := host.kept(heldName)
	if content == nil {
		return nil
	}
	defer clear(content)
	held, err := bootcache.Decode(content)
	if err != nil {
		log.Warn("what the agent before this one held cannot be read, and is read anew", "error", err)
	}
	return held
}

// openBootCache opens what is kept for a boot at which no store answers. Where
// the configuration wants none, what an earlier one may have left is removed.
func openBootCache(ctx context.Context, c config.Config, log *slog.Logger) (broker.Cache, error) {
	dir := filepath.Join(c.Paths.State, "boot-cache")
	if c.BootCache.Key == "" {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("remove the boot cache, which the configuration does not want any more: %w", err)
		}
		return nil, nil
	}
	host, err := machineID()
	if err != nil {
		return nil, err
	}
	sealer, err := openSealer(c, host)
	if err != nil {
		return nil, fmt.Errorf("boot_cache: %w", err)
	}
	if err := os.MkdirAll(c.Paths.State, 0o700); err != nil {
		return nil, fmt.Errorf("paths.state: %w", err)
	}
	cache, err := bootcache.Open(ctx, bootcache.Options{Dir: dir, Host: host, Sealer: sealer, MaxStale: c.MaxStale, Log: log})
	if err != nil {
		return nil, err
	}
	log.Warn("BOOT CACHE: secrets of the grants that allow it are kept on a disk, encrypted", "directory", dir, "key", c.BootCache.Key)
	return cache, nil
}

func openSealer(c config.Config, host string) (auth.Sealer, error) {
	switch c.BootCache.Key {
	case config.KeyAWSKMS:
		return aws.NewSealer(aws.SealerOptions{Key: c.BootCache.KeyID, Host: host})
	case config.KeyAzure:
		credential, err := azure.HostCredential(azure.Options{ClientID: c.Azure.ClientID})
		if err != nil {
			return nil, err
		}
		return azure.NewSealer(azure.SealerOptions{Credential: credential, Key: c.BootCache.KeyID, Host: host})
	case config.KeyGCPKMS:
		tokens, err := gcp.NewAccessTokens(gcp.AccessOptions{})
		if err != nil {
			return nil, err
		}
		return gcp.NewSealer(gcp.SealerOptions{Tokens: tokens, Key: c.BootCache.KeyID, Host: host})
	default:
		return machine.NewSealer(machine.Options{}), nil
	}
}

// machineIDs name a host for as long as its image is not booted anew elsewhere
// (machine-id(5)); the second is D-Bus's, where there is no systemd.
var machineIDs = []string{"/etc/machine-id", "/var/lib/dbus/machine-id"}

func machineID() (string, error) {
	var failed error
	for _, file := range machineIDs {
		content, err := os.ReadFile(file)
		if id := strings.TrimSpace(string(content)); err == nil && id != "" && id != "uninitialized" {
			return id, nil
		}
		failed = cmp.Or(failed, err)
	}
	return "", fmt.Errorf("boot_cache: the host has no name that lasts (%s): run systemd-machine-id-setup", errors.Join(failed, fs.ErrNotExist))
}
