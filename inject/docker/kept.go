package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// kept is what must be known of the engine while it restores containers and
// answers nobody. None of it is secret, but who could write it could let an
// image's own labels pass for a container's.
type kept struct {
	Engine about                        `json:"engine"`
	Images map[string]map[string]string `json:"images"` // labels, by imageRef.key
}

// keptFile is the file's name in the state directory.
const keptFile = "engine.json"

// Limits of what is kept, for images that bring nonsense along. What does not
// fit is asked for again.
const (
	maxKeptImages = 1000
	maxKeptLabels = 64 << 10 // bytes of one image's
	maxKeptFile   = 16 << 20
)

// store keeps one file in a directory that only the agent writes. Without a
// directory it keeps nothing.
type store struct{ dir string }

// recall takes up what an earlier agent kept.
func (e *Engine) recall() error {
	k, err := e.store.read()
	if err != nil {
		return err
	}
	if k.Engine.Host == e.options.Host { // else it is about another engine; images are the same everywhere
		e.about = k.Engine
	}
	if k.Images != nil {
		e.images = k.Images
	}
	return nil
}

// keep writes what is new since it last did. No start waits for it.
func (e *Engine) keep() {
	e.keeping.Lock() // so that the newest is what stays
	defer e.keeping.Unlock()
	e.mu.Lock()
	due := e.unkept
	e.unkept = false
	k := kept{Engine: e.about, Images: maps.Clone(e.images)}
	e.mu.Unlock()
	if !due {
		return
	}
	if err := e.store.write(k.bounded()); err != nil {
		e.log.Warn("what is known of the docker engine could not be kept for the next boot", "error", err)
		e.mu.Lock()
		e.unkept = true
		e.mu.Unlock()
	}
}

// bounded leaves out what is beyond the limits.
func (k kept) bounded() kept {
	total := 0
	images := map[string]map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(k.Images)) {
		size := len(key)
		for name, value := range k.Images[key] {
			size += len(name) + len(value)
		}
		// JSON may write six bytes for one.
		if size > maxKeptLabels || len(images) == maxKeptImages || total+size > maxKeptFile/8 {
			continue
		}
		total += size
		images[key] = k.Images[key]
	}
	k.Images = images
	return k
}

func (s store) read() (k kept, err error) {
	if s.dir == "" {
		return k, nil
	}
	path := filepath.Join(s.dir, keptFile)
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return k, fmt.Errorf("read what is kept of the engine: %w", err)
	}
	defer file.Close()
	if err := trusted(file); err != nil {
		return k, err
	}
	if err := json.NewDecoder(io.LimitReader(file, maxKeptFile)).Decode(&k); err != nil {
		return kept{}, fmt.Errorf("read what is kept of the engine, %s: %w", path, err)
	}
	return k, nil
}

// trusted reports that others than the agent's own user may have written a file.
func trusted(file *os.File) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return fmt.Errorf("look at %s: %w", file.Name(), err)
	}
	if int(stat.Uid) != os.Geteuid() || stat.Mode&0o022 != 0 || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s may have been written by others than the agent: remove it", file.Name())
	}
	return nil
}

// write replaces the file as a whole.
func (s store) write(k kept) error {
	if s.dir == "" {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("paths.state: %w", err)
	}
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("write what is known of the engine: %w", err)
	}
	file, err := os.CreateTemp(s.dir, keptFile+".*")
	if err != nil {
		return fmt.Errorf("write what is known of the engine: %w", err)
	}
	defer os.Remove(file.Name()) // gone already when all went well
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(s.dir, keptFile))
	}
	if err != nil {
		return fmt.Errorf("write what is known of the engine: %w", err)
	}
	return nil
}
