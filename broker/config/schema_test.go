package config_test

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/config"
)

// schema is the part of JSON Schema that the published file uses and that
// must agree with the structs.
type schema struct {
	Ref                  string             `json:"$ref"`
	Defs                 map[string]*schema `json:"$defs"`
	Description          string             `json:"description"`
	Type                 any                `json:"type"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties json.RawMessage    `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	Default              any                `json:"default"`
}

func TestPublishedSchemaMatchesTheStructs(t *testing.T) {
	data, err := os.ReadFile("../../docs/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root schema
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	// Grants and providers have no default; the zero values stand for them.
	compare(t, root.Defs, "", &root, reflect.TypeFor[config.Config](), reflect.ValueOf(config.Default()))
}

func compare(t *testing.T, defs map[string]*schema, key string, s *schema, typ reflect.Type, byDefault reflect.Value) {
	t.Helper()
	def := defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	if s.Ref != "" && def == nil {
		t.Errorf("%s: %s does not exist", key, s.Ref)
		return
	}
	if def != nil && s.Description == "" {
		s.Description = def.Description
	}
	if def != nil && s.Default == nil {
		s.Default = def.Default
	}
	if s.Description == "" {
		t.Errorf("%s: no description", key)
	}
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(s.Default.(string))
		if err != nil || d != time.Duration(byDefault.Int()) {
			t.Errorf("%s: default %v, want %v", key, s.Default, byDefault)
		}
	case typ.Kind() == reflect.Struct:
		compareStruct(t, defs, key, s, typ, byDefault)
	case typ == reflect.TypeFor[map[string]config.Provider]():
		var each schema
		if err := json.Unmarshal(s.AdditionalProperties, &each); err != nil {
			t.Errorf("%s: %v", key, err)
			return
		}
		provider := config.Provider{Vault: config.Default().Vault}
		compare(t, defs, key+".*", &each, typ.Elem(), reflect.ValueOf(provider))
	case typ == reflect.TypeFor[map[string]config.Profile]():
		var each schema
		if err := json.Unmarshal(s.AdditionalProperties, &each); err != nil {
			t.Errorf("%s: %v", key, err)
			return
		}
		compare(t, defs, key+".*", &each, typ.Elem(), reflect.Zero(typ.Elem()))
	case typ == reflect.TypeFor[[]config.Grant]():
		compare(t, defs, key+"[]", s.Items, typ.Elem(), reflect.Zero(typ.Elem()))
	case typ.Kind() == reflect.String || typ.Kind() == reflect.Bool:
		if s.Default == nil && byDefault.IsZero() {
			return
		}
		if !reflect.DeepEqual(s.Default, byDefault.Interface()) {
			t.Errorf("%s: default %v, want %v", key, s.Default, byDefault)
		}
	}
}

func compareStruct(t *testing.T, defs map[string]*schema, key string, s *schema, typ reflect.Type, byDefault reflect.Value) {
	t.Helper()
	if string(s.AdditionalProperties) != "false" || s.Type != "object" {
		t.Errorf("%s: an object without additionalProperties: false", key)
	}
	fields := map[string]reflect.StructField{}
	for _, field := range reflect.VisibleFields(typ) {
		tag := field.Tag.Get("yaml")
		if strings.HasSuffix(tag, ",inline") {
			continue // its fields are visible ones too
		}
		if field.IsExported() {
			fields[tag] = field
		}
	}
	inStruct, inSchema := slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(s.Properties))
	if !slices.Equal(inStruct, inSchema) {
		t.Errorf("%s: the struct has the keys %v, the schema %v", key, inStruct, inSchema)
		return
	}
	for name, field := range fields {
		compare(t, defs, strings.TrimPrefix(key+"."+name, "."), s.Properties[name], field.Type, byDefault.FieldByIndex(field.Index))
	}
}
