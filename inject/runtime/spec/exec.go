package spec

import (
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// Inherited is a variable that processes which are started later get too.
type Inherited struct {
	Name string
	// Engine are the entries NAME=value that the engine's own configuration had
	// under this name, from the image or docker run -e. The engine gives them
	// to each such process again, so one of them there is no choice of whoever
	// started it.
	Engine []string
}

// Inherit says of each variable what the engine's configuration has in its
// place; Apply has not changed it yet.
func Inherit(config []byte, variables []wire.Variable) ([]Inherited, error) {
	root, err := parse(config)
	if err != nil {
		return nil, err
	}
	entries, err := readEnvironment(root.Get("process", "env"), "process.env")
	if err != nil {
		return nil, err
	}
	inherited := make([]Inherited, 0, len(variables))
	for _, v := range variables {
		i := Inherited{Name: v.Name}
		for _, e := range entries[v.Name] {
			i.Engine = append(i.Engine, e.text)
		}
		inherited = append(inherited, i)
	}
	return inherited, nil
}

// ApplyExec returns the process JSON of an exec with the inherited variables
// in its env, with the values that they have in the container's config. One
// that the exec sets itself stays. Nothing but env is touched.
func ApplyExec(process, config []byte, inherited []Inherited) ([]byte, error) {
	root, err := parse(process)
	if err != nil {
		return nil, err
	}
	container, err := parse(config)
	if err != nil {
		return nil, err
	}
	values, err := readEnvironment(container.Get("process", "env"), "process.env")
	if err != nil {
		return nil, err
	}
	own, err := readEnvironment(root.Get("env"), "env")
	if err != nil {
		return nil, err
	}
	var edits []jsonedit.Edit
	var added []string
	for _, i := range inherited {
		delivered := values[i.Name]
		switch {
		case len(delivered) == 0 || chosen(own[i.Name], i.Engine):
		case len(own[i.Name]) == 0:
			added = append(added, string(delivered[0].node.Raw()))
		default:
			for _, e := range own[i.Name] {
				edits = append(edits, e.node.Replace(string(delivered[0].node.Raw())))
			}
		}
	}
	if len(added) > 0 {
		edit, err := addToList(root, "env", "env", added)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit)
	}
	return jsonedit.Apply(process, edits...)
}

// chosen reports whether one of the entries is not the engine's.
func chosen(entries []entry, engine []string) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return !slices.Contains(engine, e.text) })
}

// entry is one NAME=value of an environment.
type entry struct {
	text string
	node jsonedit.Node
}

// readEnvironment returns the entries by name.
func readEnvironment(env jsonedit.Node, field string) (map[string][]entry, error) {
	entries := map[string][]entry{}
	for element := range env.Elements() {
		text, ok := element.Text()
		if !ok {
			return nil, shapeError(field+"[]", element, "a string")
		}
		name, _, _ := strings.Cut(text, "=")
		entries[name] = append(entries[name], entry{text, element})
	}
	return entries, nil
}
