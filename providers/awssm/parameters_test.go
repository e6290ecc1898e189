package awssm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/awssm"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

func TestParameterNamesAndKinds(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	store := w.parameters[home]
	store.Put("qm-db", "plain")
	store.Put("/qm-db2", "slash")
	store.PutKind("/qm-shop/db/host", "String", "db.internal")
	store.PutKind("/qm-shop/db/ports", "StringList", "1,2")
	store.Put("/qm-shop/db/json", `{"a":"b"}`)
	w.wants("aws:ssm/qm-db", "value", "plain")
	w.wants("aws:ssm/qm-db2?name=/qm-db2", "value", "slash")
	w.fails("aws:ssm/qm-db2", providers.ErrNotFound)
	w.wants("aws:ssm/qm-shop/db/host", "value", "db.internal")
	w.wants("aws:ssm/qm-shop/db/ports", "value", "1,2")
	w.wants("aws:ssm/qm-shop/db/json", "value", `{"a":"b"}`)
	w.wants("aws:ssm/"+store.ARN("/qm-shop/db/host"), "value", "db.internal")

	w.parameters[replica].Put("/qm-shop/db", "central")
	w.wants("aws:ssm/"+w.parameters[replica].ARN("/qm-shop/db"), "value", "central")
	shared := strings.Replace(store.ARN("/qm-shared"), accountID, foreignID, 1)
	store.Put(shared, "shared")
	w.wants("aws:ssm/"+shared, "value", "shared")
}

func TestParameterVersions(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	store := w.parameters[home]
	for _, value := range []string{"one", "two", "three"} {
		store.Put("/qm-shop/db", value)
	}
	store.Label("/qm-shop/db", "release", 2)
	for version, want := range map[string][2]string{"": {"three", "3"}, "@1": {"one", "1"}, "@release": {"two", "2"}} {
		found := w.wants("aws:ssm/qm-shop/db"+version, "value", want[0])
		current, err := w.CurrentVersion(t.Context(), w.ref("aws:ssm/qm-shop/db"+version))
		if found.Version != want[1] || current != want[1] || err != nil {
			t.Errorf("%q is %q and %q, want %q: %v", version, found.Version, current, want[1], err)
		}
	}
	w.wants("aws:ssm/"+store.ARN("/qm-shop/db")+"@1", "value", "one")
	w.fails("aws:ssm/qm-shop/db@4", providers.ErrNotFound, "no such version")
	w.fails("aws:ssm/qm-shop/db@none", providers.ErrNotFound, "no such version")
}

// A hierarchy is one secret, however many pages it has.
func TestHierarchy(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	store := w.parameters[home]
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("p%02d", i)
		store.Put("/qm-shop/db/"+name, "value of "+name)
		want = append(want, name, "value of "+name)
	}
	store.Put("/qm-shop/db/deep/er", "deep")
	store.Put("/qm-shop/dbx", "beside")
	found := w.wants("aws:ssm/qm-shop/db/*", want...)
	w.wants("aws:ssm/qm-shop/db/*?recursive=true", append(want, "deep/er", "deep")...)

	ref := w.ref("aws:ssm/qm-shop/db/*")
	before := store.Reads()
	if version, err := w.CurrentVersion(t.Context(), ref); err != nil || version != found.Version || store.Reads() != before {
		t.Errorf("version %q, want %q: %v; %d reads", version, found.Version, err, store.Reads()-before)
	}
	seen := map[string]bool{found.Version: true}
	for _, change := range []func(){
		func() { store.Put("/qm-shop/db/p07", "changed") },
		func() { store.Put("/qm-shop/db/new", "come") },
		func() { store.Remove("/qm-shop/db/p00") },
	} {
		change()
		version, err := w.CurrentVersion(t.Context(), ref)
		if err != nil || seen[version] {
			t.Errorf("version %q again, %v", version, err)
		}
		seen[version] = true
	}
	w.fails("aws:ssm/qm-none/*", providers.ErrNotFound, "no parameters below /qm-none")
	w.fails("aws:ssm/other/*", providers.ErrDenied, "ssm:GetParametersByPath")
	for how, fault := range faults {
		if how == providertest.Slow {
			continue
		}
		store.Set("", fault)
		w.fails("aws:ssm/qm-shop/db/*", providers.ErrUnavailable, "/qm-shop/db")
		store.Clear("")
	}
}

// A path that is too high up would fill the agent's memory.
func TestHugeHierarchy(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	for i := range 600 {
		w.parameters[home].Put(fmt.Sprintf("/qm-shop/%d", i), "x")
	}
	w.fails("aws:ssm/qm-shop/*", providers.ErrInvalid, "more than 500 parameters below /qm-shop")
}
