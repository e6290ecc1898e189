package awssim

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// parameter is how one parameter is answered.
type parameter struct {
	ARN              string
	Name             string
	Type             string
	Value            string
	Version          int
	Selector         string `json:",omitempty"`
	DataType         string
	LastModifiedDate float64
}

// find is the parameter that a caller names, with an optional :version or
// :label behind the name.
func (s *ParameterStore) find(caller issued, action, id string, decrypt bool) (parameter, error) {
	name, selector := id, ""
	if fields := strings.Split(id, ":"); strings.HasPrefix(id, "arn:") {
		name = strings.Join(fields[:min(6, len(fields))], ":")
		selector = strings.Join(fields[min(6, len(fields)):], ":")
	} else {
		name, selector, _ = strings.Cut(id, ":")
	}
	if err := s.permissions.check(caller, action, s.ARN(name), nil); err != nil {
		return parameter{}, err
	}
	s.mu.Lock()
	p, found := s.parameters[s.local(name)]
	s.mu.Unlock()
	if !found {
		return parameter{}, badRequest("ParameterNotFound", "")
	}
	version := len(p.versions)
	if selector != "" {
		if version = p.labels[selector]; version == 0 {
			version, _ = strconv.Atoi(selector) // what is no number is no version
		}
	}
	if version < 1 || version > len(p.versions) {
		return parameter{}, badRequest("ParameterVersionNotFound", "Systems Manager could not find version %s of %s.", selector, name)
	}
	return s.answer(caller, s.local(name), p, version, selector, decrypt)
}

// local is the name of a parameter that is named by its ARN; with and without
// a slash the ARN is the same.
func (s *ParameterStore) local(name string) string {
	below, own := strings.CutPrefix(name, s.ARN(""))
	if !own {
		return name
	}
	for _, candidate := range []string{"/" + below, below} {
		if _, found := s.parameters[candidate]; found {
			return candidate
		}
	}
	return name
}

// answer shows one version; a SecureString that is not to be decrypted shows
// its ciphertext.
func (s *ParameterStore) answer(caller issued, name string, p storedParameter, version int, selector string, decrypt bool) (parameter, error) {
	kept := p.versions[version-1]
	shown := parameter{ARN: s.ARN(name), Name: name, Type: p.kind, Value: kept.value, Version: version, DataType: "text",
		LastModifiedDate: float64(kept.changed.UnixMilli()) / 1000}
	if selector != "" {
		shown.Selector = ":" + selector
	}
	if p.kind != "SecureString" {
		return shown, nil
	}
	if !decrypt {
		shown.Value = "AQICAHh" + hexSHA256([]byte(kept.value))
		return shown, nil
	}
	if p.key != "" {
		if err := s.permissions.check(caller, "kms:Decrypt", p.key, s.via()); err != nil {
			refused := err.(*refusal) // check returns no other
			return parameter{}, badRequest("AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist "+
				"in this region, or you are not allowed to access. (%s)", refused.message)
		}
	}
	return shown, nil
}

// asked counts a request for decrypted values.
func (s *ParameterStore) asked(decrypt bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if decrypt {
		s.decrypted++
	}
}

func (s *ParameterStore) getParameter(caller issued, body []byte) (any, error) {
	request, err := read[struct {
		Name           string
		WithDecryption bool
	}](body)
	if err != nil {
		return nil, err
	}
	s.asked(request.WithDecryption)
	found, err := s.find(caller, "ssm:GetParameter", request.Name, request.WithDecryption)
	return map[string]parameter{"Parameter": found}, err
}

// getParameters answers for all names or, when one of them may not be read,
// for none.
func (s *ParameterStore) getParameters(caller issued, body []byte) (any, error) {
	request, err := read[struct {
		Names          []string
		WithDecryption bool
	}](body)
	if err != nil {
		return nil, err
	}
	s.asked(request.WithDecryption)
	names := slices.Clone(request.Names)
	slices.Sort(names)
	if n := len(names); n < 1 || n > 10 || len(slices.Compact(names)) < n {
		return nil, badRequest("ValidationException", "Names must have 1 to 10 members, none of them twice.")
	}
	result := struct {
		Parameters        []parameter
		InvalidParameters []string
	}{[]parameter{}, []string{}}
	for _, name := range names {
		found, err := s.find(caller, "ssm:GetParameters", name, request.WithDecryption)
		switch refused, _ := err.(*refusal); {
		case err == nil:
			result.Parameters = append(result.Parameters, found)
		case refused.code == "ParameterNotFound" || refused.code == "ParameterVersionNotFound":
			result.InvalidParameters = append(result.InvalidParameters, name)
		default:
			return nil, err
		}
	}
	return result, nil
}

// pageSize is how many parameters GetParametersByPath answers at once.
const pageSize = 10

func (s *ParameterStore) getParametersByPath(caller issued, body []byte) (any, error) {
	request, err := read[struct {
		Path                      string
		Recursive, WithDecryption bool
		NextToken                 string
		MaxResults                json.Number
	}](body)
	if err != nil {
		return nil, err
	}
	s.asked(request.WithDecryption && request.NextToken == "")
	if err := s.permissions.check(caller, "ssm:GetParametersByPath", s.ARN(strings.TrimSuffix(request.Path, "/")),
		facts{"ssm:Recursive": strconv.FormatBool(request.Recursive)}); err != nil {
		return nil, err
	}
	names := s.below(request.Path, request.Recursive)
	start, _ := strconv.Atoi(request.NextToken) // empty: from the first
	end := min(start+pageSize, len(names))
	result := struct {
		Parameters []parameter
		NextToken  string `json:",omitempty"`
	}{Parameters: []parameter{}}
	for _, name := range names[min(start, end):end] {
		s.mu.Lock()
		p := s.parameters[name]
		s.mu.Unlock()
		shown, err := s.answer(caller, name, p, len(p.versions), "", request.WithDecryption)
		if err != nil {
			return nil, err
		}
		result.Parameters = append(result.Parameters, shown)
	}
	if end < len(names) {
		result.NextToken = strconv.Itoa(end)
	}
	return result, nil
}

// below are the names of the parameters in a hierarchy, sorted.
func (s *ParameterStore) below(path string, recursive bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := strings.TrimSuffix(path, "/") + "/"
	var names []string
	for name := range s.parameters {
		rest, inside := strings.CutPrefix(name, prefix)
		if inside && (recursive || !strings.Contains(rest, "/")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
