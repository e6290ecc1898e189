package config

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// WriteFile is one entry of write_files in a #cloud-config, as cloud-init's
// module of that name documents it.
type WriteFile struct {
	Path, Encoding string
	Content        []byte
	Append         bool
}

// CloudConfig is what concerns this program in one #cloud-config.
type CloudConfig struct {
	Files []WriteFile
	// MergeHow is how its values are to be merged with those of the parts before
	// it, in the words of a part's header: "list(append)+dict(recurse_list)".
	// Empty: it does not say.
	MergeHow string
}

// ReadCloudConfig reads a #cloud-config as cloud-init would, and leaves out
// what is none of this program's business. Anchors and the like are understood
// there and not followed here.
func ReadCloudConfig(origin string, data []byte) (CloudConfig, error) {
	node, problem := parseIf(origin, data, shallow)
	if problem != nil {
		return CloudConfig{}, Problems{*problem}
	}
	var found CloudConfig
	root, _ := node.(*ast.MappingNode)
	if root == nil {
		return found, nil
	}
	for _, entry := range root.Values {
		switch entry.Key.GetToken().Value {
		case "merge_how", "merge_type":
			found.MergeHow = mergeHow(entry.Value)
		case "write_files":
			list, isList := entry.Value.(*ast.SequenceNode)
			if !isList {
				return CloudConfig{}, Problems{{Place: at(origin, entry.Key.GetToken()), Key: "write_files", Message: "write_files is not a list"}}
			}
			for _, item := range list.Values {
				file, err := writeFile(origin, item)
				if err != nil {
					return CloudConfig{}, err
				}
				found.Files = append(found.Files, file)
			}
		}
	}
	return found, nil
}

// mergeHow writes a list of mergers as a part's header would.
func mergeHow(node ast.Node) string {
	list, isList := node.(*ast.SequenceNode)
	if !isList {
		text, _ := cloudText(node) // anything else says nothing
		return text
	}
	var mergers []string
	for _, item := range list.Values {
		value := valueOf(item)
		name, settings := value.fields["name"], value.fields["settings"].items
		if len(value.items) > 0 {
			name, settings = value.items[0], value.items[1:]
		}
		var options []string
		for _, setting := range settings {
			options = append(options, strings.Trim(setting.scalar, `"`))
		}
		mergers = append(mergers, strings.Trim(name.scalar, `"`)+"("+strings.Join(options, ",")+")")
	}
	return strings.Join(mergers, "+")
}

func writeFile(origin string, node ast.Node) (file WriteFile, err error) {
	entries, isMapping := node.(*ast.MappingNode)
	if !isMapping {
		return WriteFile{}, Problems{{Place: at(origin, node.GetToken()), Key: "write_files", Message: "an entry of write_files is not a mapping"}}
	}
	for _, entry := range entries.Values {
		name := entry.Key.GetToken().Value
		text, err := cloudText(entry.Value)
		switch {
		case name != "path" && name != "encoding" && name != "content" && name != "append":
		case err != nil:
			return WriteFile{}, Problems{{Place: at(origin, entry.Key.GetToken()), Key: "write_files", Message: fmt.Sprintf("%s of an entry of write_files: %v", name, err)}}
		case name == "path":
			file.Path = text
		case name == "encoding":
			file.Encoding = strings.ToLower(strings.TrimSpace(text))
		case name == "content":
			file.Content = []byte(text)
		case name == "append":
			file.Append = strings.EqualFold(text, "true") || strings.EqualFold(text, "yes")
		}
	}
	return file, nil
}

// cloudText is a scalar as it is written; what is tagged !!binary is decoded.
func cloudText(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.NullNode:
		return "", nil
	case *ast.TagNode:
		text, err := cloudText(n.Value)
		if err != nil || n.Start.Value != "!!binary" {
			return text, err
		}
		binary, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		return string(binary), err
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, nil
	}
	return "", fmt.Errorf("text wanted, found %s", node.Type())
}
