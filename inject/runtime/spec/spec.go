// Package spec reads the few facts of an OCI runtime configuration that the
// agent must know, and writes into it what the agent delivers.
//
// The configuration is the config.json of a bundle (OCI Runtime Specification
// 1.x, config.md). The engine writes it anew before each start and the runtime
// reads it; in between it belongs to neither. Facts and Apply touch the named
// fields only; every other byte stays as the engine wrote it.
package spec

import (
	"errors"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// The decisions that reading or editing a configuration can end with.
var (
	// ErrShape says that a field is not what the OCI specification says.
	ErrShape = errors.New("not an OCI runtime configuration")
	// ErrVariable says that a variable cannot be expressed in a configuration.
	ErrVariable = errors.New("cannot be an environment variable; deliver it as a file")
)

// Facts reads what the agent must know of the container id. It leaves
// MemoryOnly for the caller to say.
func Facts(config []byte, id string) (wire.Request, error) {
	root, err := parse(config)
	if err != nil {
		return wire.Request{}, err
	}
	r := wire.Request{ID: id}
	if r.UID, err = number(root.Get("process", "user", "uid"), "process.user.uid"); err != nil {
		return wire.Request{}, err
	}
	if r.GID, err = number(root.Get("process", "user", "gid"), "process.user.gid"); err != nil {
		return wire.Request{}, err
	}
	if err := readUserNamespace(root.Get("linux"), &r); err != nil {
		return wire.Request{}, err
	}
	_, err = readMounts(root.Get("mounts"), &r)
	return r, err
}

func parse(config []byte) (jsonedit.Node, error) {
	root, err := jsonedit.Parse(config)
	if err != nil {
		return root, err
	}
	if root.Kind() != jsonedit.Object {
		return root, shapeError("the whole", root, "an object")
	}
	return root, nil
}

// number reads an ID; a missing one is zero, as it is for the runtime.
func number(n jsonedit.Node, field string) (uint32, error) {
	if absent(n) {
		return 0, nil
	}
	value, err := n.Uint32()
	if err != nil {
		return 0, &specError{field, err}
	}
	return value, nil
}

// absent: null means to the runtime, which decodes into Go structs, what
// leaving the field out does.
func absent(n jsonedit.Node) bool { return n.Kind() == jsonedit.Missing || n.Kind() == jsonedit.Null }

// readUserNamespace reads the mappings. Without a namespace of type user the
// runtime does not apply them.
func readUserNamespace(linux jsonedit.Node, r *wire.Request) error {
	for namespace := range linux.Get("namespaces").Elements() {
		if kind, _ := namespace.Get("type").Text(); kind != "user" {
			continue
		}
		var err error
		if r.UIDMap, err = idMaps(linux.Get("uidMappings"), "linux.uidMappings"); err != nil {
			return err
		}
		if r.GIDMap, err = idMaps(linux.Get("gidMappings"), "linux.gidMappings"); err != nil {
			return err
		}
	}
	return nil
}

func idMaps(list jsonedit.Node, field string) ([]wire.IDMap, error) {
	var maps []wire.IDMap
	for element := range list.Elements() {
		var ids [3]uint32
		for i, name := range [...]string{"containerID", "hostID", "size"} {
			var err error
			if ids[i], err = number(element.Get(name), field+"[]."+name); err != nil {
				return nil, err
			}
		}
		maps = append(maps, wire.IDMap{Container: ids[0], Host: ids[1], Size: ids[2]})
	}
	return maps, nil
}

// readMounts returns what is mounted at each destination as well.
func readMounts(mounts jsonedit.Node, r *wire.Request) (sources map[string]string, err error) {
	sources = map[string]string{}
	for mount := range mounts.Elements() {
		destination, ok := mount.Get("destination").Text()
		if !ok {
			return nil, shapeError("mounts[].destination", mount.Get("destination"), "a string")
		}
		r.Mounts = append(r.Mounts, destination)
		sources[destination], _ = mount.Get("source").Text()
	}
	r.EngineDir = engineDir(sources, r.ID)
	return sources, nil
}

// engineDir finds the engine's own directory for the container. Docker binds
// files of it over those that it manages in every container (its
// container_operations_unix.go and oci_linux.go); a user may have put binds of
// his own over some of them. A container that shares another's network has the
// other's files, which lie in the directory beside its own.
func engineDir(sources map[string]string, id string) string {
	managed := [...]string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm"}
	sibling := ""
	for _, destination := range managed {
		source := path.Clean(sources[destination])
		if !path.IsAbs(source) {
			continue
		}
		for dir := path.Dir(source); dir != "/"; dir = path.Dir(dir) {
			switch {
			case path.Base(dir) == id:
				return dir
			case sibling == "" && isContainerID(path.Base(dir)):
				sibling = path.Join(path.Dir(dir), id)
			}
		}
	}
	return sibling
}

// isContainerID: Docker's IDs are 64 hex digits.
func isContainerID(name string) bool {
	return len(name) == 64 && strings.Trim(name, "0123456789abcdef") == ""
}

// Apply writes a delivery into the configuration and returns the new text: one
// read-only bind mount at the end, so that it lies on top of what is mounted
// before, and the variables, each in the place of one with its name. An error
// names a variable but never shows a value.
func Apply(config []byte, answer wire.Answer) ([]byte, error) {
	root, err := parse(config)
	if err != nil {
		return nil, err
	}
	var edits []jsonedit.Edit
	if answer.Source != "" {
		edit, err := addMount(root, answer.Source, answer.Target)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit)
	}
	if len(answer.Variables) > 0 {
		more, err := setVariables(root, answer.Variables)
		if err != nil {
			return nil, err
		}
		edits = append(edits, more...)
	}
	return jsonedit.Apply(config, edits...)
}

func addMount(root jsonedit.Node, source, target string) (jsonedit.Edit, error) {
	for _, p := range [...]string{source, target} {
		if !path.IsAbs(p) || path.Clean(p) != p || !utf8.ValidString(p) {
			return jsonedit.Edit{}, &specError{"mount of " + strconv.Quote(source) + " at " + strconv.Quote(target),
				errors.New("both must be clean absolute paths")}
		}
	}
	mount := `{"destination":` + jsonedit.Quote(target) + `,"type":"bind","source":` + jsonedit.Quote(source) +
		`,"options":["bind","ro","nosuid","nodev","noexec","rprivate"]}`
	return addToList(root, "mounts", "mounts", []string{mount})
}

// addToList appends to the array that is a member of object; one that is
// absent comes into being.
func addToList(object jsonedit.Node, name, field string, items []string) (jsonedit.Edit, error) {
	list := object.Get(name)
	switch list.Kind() {
	case jsonedit.Array:
		return list.Append(items...)
	case jsonedit.Missing:
		return object.Insert(name, "["+strings.Join(items, ",")+"]")
	case jsonedit.Null:
		return list.Replace("[" + strings.Join(items, ",") + "]"), nil
	}
	return jsonedit.Edit{}, shapeError(field, list, "an array")
}

func setVariables(root jsonedit.Node, variables []wire.Variable) ([]jsonedit.Edit, error) {
	process := root.Get("process")
	if process.Kind() != jsonedit.Object {
		return nil, shapeError("process", process, "an object")
	}
	entries, err := encodeVariables(variables)
	if err != nil {
		return nil, err
	}
	var edits []jsonedit.Edit
	replaced := map[string]bool{}
	for element := range process.Get("env").Elements() {
		entry, ok := element.Text()
		if !ok {
			return nil, shapeError("process.env[]", element, "a string")
		}
		name, _, _ := strings.Cut(entry, "=")
		// A name that stands there twice is replaced twice: which one counts
		// is for each runtime to say.
		if quoted, set := entries[name]; set {
			edits = append(edits, element.Replace(quoted))
			replaced[name] = true
		}
	}
	var added []string
	for _, v := range variables {
		if !replaced[v.Name] {
			added = append(added, entries[v.Name])
		}
	}
	if len(added) == 0 {
		return edits, nil
	}
	edit, err := addToList(process, "env", "process.env", added)
	return append(edits, edit), err
}

// encodeVariables makes the JSON string NAME=value of each variable.
func encodeVariables(variables []wire.Variable) (map[string]string, error) {
	entries := make(map[string]string, len(variables))
	for _, v := range variables {
		value := string(v.Value()) // goes into the configuration
		_, twice := entries[v.Name]
		switch {
		case v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || !utf8.ValidString(v.Name):
			return nil, variableError(v.Name, "its name is empty or has an equals sign, a zero byte or invalid UTF-8")
		case twice:
			return nil, variableError(v.Name, "it is delivered twice")
		case strings.Contains(value, "\x00"):
			return nil, variableError(v.Name, "its value has a zero byte")
		case !utf8.ValidString(value):
			return nil, variableError(v.Name, "its value is not valid UTF-8")
		case len(v.Name)+len(value)+len("=\x00") > largestVariable():
			return nil, variableError(v.Name, "with its value it is longer than the "+
				strconv.Itoa(largestVariable())+" bytes that Linux takes")
		}
		entries[v.Name] = jsonedit.Quote(v.Name + "=" + value)
	}
	return entries, nil
}

// largestVariable is MAX_ARG_STRLEN of linux/binfmts.h: 32 pages, among them
// the name, the equals sign and a closing zero byte.
func largestVariable() int { return 32 * syscall.Getpagesize() }

type specError struct {
	what string
	err  error
}

func (e *specError) Error() string { return e.what + ": " + e.err.Error() }
func (e *specError) Unwrap() error { return e.err }

func shapeError(field string, n jsonedit.Node, want string) error {
	return &specError{field + " is " + n.Kind().String() + " and should be " + want, ErrShape}
}

func variableError(name, why string) error {
	return &specError{"variable " + strconv.Quote(name) + ": " + why, ErrVariable}
}
