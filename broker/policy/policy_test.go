package policy_test

import (
	"reflect"
	"testing"

	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
)

func patterns(t *testing.T, texts ...string) (out []secret.Pattern) {
	t.Helper()
	for _, text := range texts {
		p, err := secret.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestDecide(t *testing.T) {
	p := policy.New([]policy.Grant{
		{Name: "db", Workloads: map[string]string{"compose.project": "shop", "compose.service": "db"},
			Secrets: patterns(t, "vault:kv/shop/db", "vault:kv/shop/shared/*")},
		{Name: "web", Workloads: map[string]string{"compose.project": "shop*", "label.env": "prod"},
			Secrets: patterns(t, "vault:kv/shop/web#cookie")},
	})
	db := workload.Selectors{"name": "db-1", "compose.project": "shop", "compose.service": "db"}
	web := workload.Selectors{"name": "web-1", "compose.project": "shop2", "compose.service": "web", "label.env": "prod"}
	liar := workload.Selectors{"name": "liar", "compose.project": "shop", "image.label.env": "prod"}
	for _, c := range []struct {
		who  workload.Selectors
		ref  string
		want policy.Decision
	}{
		{db, "vault:kv/shop/db#password", policy.Decision{Allowed: true, Grant: "db", Reason: `grant "db" gives it`}},
		{db, "vault:kv/shop/shared/x", policy.Decision{Allowed: true, Grant: "db", Reason: `grant "db" gives it`}},
		{web, "vault:kv/shop/web#cookie", policy.Decision{Allowed: true, Grant: "web", Reason: `grant "web" gives it`}},
		{db, "vault:kv/shop/other", policy.Decision{Reason: `no grant of this container lists it (grants that match the container: "db")`}},
		{web, "vault:kv/shop/db", policy.Decision{
			Reason: `grant "db" lists it, but it is for compose.project=shop and this container has compose.project=shop2`}},
		{liar, "vault:kv/shop/web#cookie", policy.Decision{
			Reason: `grant "web" lists it, but it is for label.env=prod, and that label comes from the image, which does not count: set it when the container is created`}},
		{workload.Selectors{"name": "x"}, "vault:kv/shop/db", policy.Decision{
			Reason: `grant "db" lists it, but it is for compose.project=shop and this container has no compose.project`}},
		{workload.Selectors{"name": "x"}, "vault:kv/none", policy.Decision{
			Reason: `no grant matches this container (name=x) and none lists this ref`}},
		{workload.Selectors{}, "aws:kv/shop/db", policy.Decision{Reason: `no grant matches this container () and none lists this ref`}},
	} {
		ref, err := secret.ParseRef(c.ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Decide(c.who, ref); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v %s:\ngot  %+v\nwant %+v", map[string]string(c.who), c.ref, got, c.want)
		}
	}
}

func TestNoGrantsDenyEverything(t *testing.T) {
	ref, _ := secret.ParseRef("vault:kv/a")
	if d := policy.New(nil).Decide(workload.Selectors{"name": "x"}, ref); d.Allowed || d.Reason == "" {
		t.Errorf("got %+v", d)
	}
}
