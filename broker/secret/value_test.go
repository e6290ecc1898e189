package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
)

const plaintext = "hunter2-correct-horse"

// holder keeps values where fmt finds no String method: unexported fields,
// nested, behind a pointer, in a map and in a slice.
type holder struct {
	value  secret.Value
	nested struct{ deep *secret.Value }
	list   []secret.Value
	byName map[string]secret.Value
	Public secret.Value
	whole  secret.Secret
}

func newHolder() holder {
	value := secret.NewValue([]byte(plaintext))
	h := holder{
		value: value, Public: value, list: []secret.Value{value}, byName: map[string]secret.Value{"k": value},
		whole: secret.Secret{Fields: map[string]secret.Value{"password": value}},
	}
	h.nested.deep = &value
	return h
}

func TestValueCannotBePrinted(t *testing.T) {
	h := newHolder()
	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%p", "%t", "%e"} {
		printed["value "+verb] = fmt.Sprintf(verb, h.value)
		printed["pointer "+verb] = fmt.Sprintf(verb, &h.value)
		printed["holder "+verb] = fmt.Sprintf(verb, h)
		printed["holder pointer "+verb] = fmt.Sprintf(verb, &h)
		printed["secret "+verb] = fmt.Sprintf(verb, h.whole)
	}
	for name, v := range map[string]any{"value": h.value, "holder": h, "pointer": &h, "secret": h.whole} {
		asJSON, err := json.Marshal(v)
		printed["json "+name] = fmt.Sprint(string(asJSON), err)
		var text, asLines bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&asLines, nil)).Info("m", "v", v)
		printed["slog text "+name], printed["slog json "+name] = text.String(), asLines.String()
	}
	printed["error"] = fmt.Errorf("it was %v: %w", h.value, errors.New("x")).Error()
	for how, text := range printed {
		for _, leak := range []string{plaintext, fmt.Sprintf("%x", plaintext), fmt.Sprintf("%d", []byte(plaintext)), "hunter"} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(strings.Trim(leak, "[]"))) {
				t.Errorf("%s shows the value: %s", how, text)
			}
		}
	}
	if got := fmt.Sprint(h.value); got != "[secret]" {
		t.Errorf("a value prints as %q", got)
	}
}

func TestValueComparesAndWipes(t *testing.T) {
	a, b := secret.NewValue([]byte(plaintext)), secret.NewValue([]byte(plaintext))
	if !a.Equal(b) || a.Equal(secret.NewValue([]byte("other"))) || a.Equal(secret.Value{}) {
		t.Error("Equal is wrong")
	}
	key := []byte("key")
	if a.MAC(key) != b.MAC(key) || a.MAC(key) == a.MAC([]byte("other key")) || len(a.MAC(key)) != 64 {
		t.Error("MAC is wrong")
	}
	if (secret.Value{}).Len() != 0 || a.Len() != len(plaintext) {
		t.Error("Len is wrong")
	}
	shared := a
	a.Wipe()
	if !bytes.Equal(shared.Reveal(), make([]byte, len(plaintext))) {
		t.Error("a copy survives Wipe")
	}
	(secret.Value{}).Wipe()
}

func TestSelect(t *testing.T) {
	one := secret.Secret{Fields: map[string]secret.Value{"value": secret.NewValue([]byte("1"))}}
	two := secret.Secret{Fields: map[string]secret.Value{"user": secret.NewValue([]byte("u")), "password": secret.NewValue([]byte("p"))}}
	if v, err := one.Select(""); err != nil || string(v.Reveal()) != "1" {
		t.Errorf("the only field: %v", err)
	}
	if v, err := two.Select("user"); err != nil || string(v.Reveal()) != "u" {
		t.Errorf("a named field: %v", err)
	}
	for field, want := range map[string]string{
		"":    "the secret has 2 fields; choose one by adding #<field> to the ref: password, user",
		"pin": `there is no field "pin"; the fields are: password, user`,
	} {
		if _, err := two.Select(field); err == nil || err.Error() != want {
			t.Errorf("Select(%q): %v, want %s", field, err, want)
		}
	}
}
