package firstboot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/config"
)

// host is the directory of the configuration.
type host struct{ main, dir, own string }

func newHost(main string) *host {
	return &host{main: main, dir: filepath.Dir(main), own: OwnFile(main)}
}

// ours takes from user-data what lies below the configuration's directory:
// configuration that is to be read, unless cloud-init has written it already, and
// other files, such as an authority's certificate.
func (h *host) ours(origin string, data []byte) (texts []config.Text, files []config.WriteFile, err error) {
	all, err := writeFiles(origin, data)
	if err != nil {
		return nil, nil, err
	}
	var kept []config.WriteFile
	for _, file := range all {
		file.Path = path.Clean(file.Path)
		if !strings.HasPrefix(file.Path, h.dir+"/") || file.Path == h.own {
			continue
		}
		i := slices.IndexFunc(kept, func(f config.WriteFile) bool { return f.Path == file.Path })
		switch {
		case i < 0:
			kept = append(kept, file)
		case file.Append:
			kept[i].Content = slices.Concat(kept[i].Content, file.Content)
		default:
			kept[i].Content = file.Content
		}
	}
	for _, file := range kept {
		isExtra := filepath.Dir(file.Path) == filepath.Join(h.dir, "conf.d") && filepath.Ext(file.Path) == ".yaml"
		if file.Path == h.main || isExtra {
			if there, err := os.ReadFile(file.Path); err == nil && bytes.Equal(there, file.Content) {
				continue // cloud-init wrote it: it counts as a file
			}
			texts = append(texts, config.Text{Origin: origin + ", " + file.Path, Data: file.Content})
		} else {
			files = append(files, file)
		}
	}
	slices.SortFunc(texts, func(a, b config.Text) int { // as Load reads them: the main one first
		after := map[bool]string{false: "~"} // behind every letter
		mainFile := origin + ", " + h.main
		return strings.Compare(after[a.Origin == mainFile]+a.Origin, after[b.Origin == mainFile]+b.Origin)
	})
	return texts, files, nil
}

// written says what became of files that are no configuration.
type written struct {
	lines   []string // for the own file, by which the next boot knows them
	remarks []string
}

// writeFiles writes files that nobody else has written. undo takes away those
// that are new.
func (h *host) writeFiles(files []config.WriteFile, from string) (undo func() error, w written, err error) {
	var made []string
	undo = func() (err error) {
		for _, name := range made {
			err = errors.Join(err, os.Remove(name))
		}
		return err
	}
	before := h.sums()
	for _, file := range files {
		name := file.Path[len(h.dir)+1:]
		sum := sumOf(file.Content)
		there, err := os.ReadFile(file.Path)
		switch {
		case err == nil && before[name] != sumOf(there):
			if sumOf(there) != sum {
				w.remarks = append(w.remarks, fmt.Sprintf("%s: what %s holds of it is not used, because the file is there already", file.Path, from))
			}
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return undo, w, errors.Join(err, undo())
		case err != nil:
			made = append(made, file.Path)
		}
		if err := h.write(file.Path, file.Content); err != nil {
			made = slices.DeleteFunc(made, func(name string) bool { return name == file.Path })
			return undo, w, errors.Join(err, undo())
		}
		w.lines = append(w.lines, fmt.Sprintf("# file %s: sha256 %s, from %s\n", name, sum, from))
	}
	return undo, w, nil
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// sums are those of the files that an earlier run has written, by name.
func (h *host) sums() map[string]string {
	sums := map[string]string{}
	for _, line := range header(h.own) {
		if name, rest, is := strings.Cut(strings.TrimPrefix(line, "# file "), ": sha256 "); is {
			sums[name], _, _ = strings.Cut(rest, ",")
		}
	}
	return sums
}

// header are the comments at the beginning of a file.
func header(file string) (lines []string) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil // there is none, or it is not for this user
	}
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// fromMark stands between a key and where it is from.
const fromMark = ": from "

// Origins are those of the keys that the instance has set, as Configure left
// them for the configuration whose main file is main.
func Origins(main string) (origins []Origin) {
	for _, line := range header(OwnFile(main)) {
		if key, from, is := strings.Cut(strings.TrimPrefix(line, "# "), fromMark); is {
			origins = append(origins, Origin{key, from})
		}
	}
	return origins
}

// render is the own file; nothing when there is nothing to say.
func render(all []chosen, files []string) []byte {
	if len(all)+len(files) == 0 {
		return nil
	}
	var text bytes.Buffer
	text.WriteString("# What this instance was given. quaymaster configure writes it anew at each boot: put your own settings into another file.\n")
	for _, c := range all {
		fmt.Fprintf(&text, "# %s%s%s\n", c.Key, fromMark, c.From)
	}
	for _, line := range files {
		text.WriteString(line)
	}
	for _, c := range all {
		fmt.Fprintf(&text, "%s:%s\n", c.Key, c.value.Lines())
	}
	return text.Bytes()
}

func (h *host) remove() error {
	if err := os.Remove(h.own); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// write replaces a file below the configuration's directory at once, for root
// only. Links do not lead out of that directory.
func (h *host) write(file string, content []byte) (err error) {
	if there, err := os.ReadFile(file); err == nil && bytes.Equal(there, content) {
		return nil
	}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	name := file[len(h.dir)+1:]
	next := path.Join(path.Dir(name), "."+path.Base(name)+".new")
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) { // left behind by one that was cut off
		return err
	}
	f, err := root.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, root.Remove(next))
	}
	return root.Rename(next, name)
}

// problemsFile keeps what is wrong for the doctor. No file with such a name is
// read as configuration.
func (h *host) problemsFile() string { return filepath.Join(h.dir, "conf.d", ".00-instance.problems") }

// Note keeps what went wrong, a line each, for whoever asks later how this host
// is; nothing takes away what was kept before.
func Note(main string, problems []string) error {
	h := newHost(main)
	if len(problems) == 0 {
		if err := os.Remove(h.problemsFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return h.write(h.problemsFile(), []byte(strings.Join(problems, "\n")+"\n"))
}

// Noted is what Note kept last.
func Noted(main string) (problems []string) {
	content, err := os.ReadFile(newHost(main).problemsFile())
	if err != nil {
		return nil // there is none, or it is not for this user
	}
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}
