//go:build integration

package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"
)

// TestThreeHundredStartsShareFiveReads starts three hundred containers together that need
// the same five secrets, which nobody has read before.
func TestThreeHundredStartsShareFiveReads(t *testing.T) {
	const starts = 300
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	reconfigure(t, h, "refresh: 1h\ngate_timeout: 5m\n"+grants)
	wants := labels()
	for n := range 5 {
		name := fmt.Sprintf("five/%d", n)
		if err := h.Vault.PutSecret(ctx, "kv", "shop/"+name, map[string]any{"v": fmt.Sprint("value ", n)}); err != nil {
			t.Fatal(err)
		}
		wants[fmt.Sprintf("quaymaster.secret.v%d", n)] = "vault:kv/shop/" + name
	}
	if reports := startMany(ctx, t, starts, wants); reports != starts {
		t.Errorf("%d of %d containers had all five", reports, starts)
	}
	for n := range 5 {
		path := fmt.Sprintf("kv/data/shop/five/%d", n)
		if reads, err := realVault().Requests(path, "read"); err != nil || reads != 1 {
			t.Errorf("%s was read %d times for %d starts, want 1; %v", path, reads, starts, err)
		}
	}
}

// TestThreeHundredStartsShareOneBatch is the same with AWS Secrets Manager, which
// answers for all five in one request.
func TestThreeHundredStartsShareOneBatch(t *testing.T) {
	const starts = 300
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	store, manager, err := h.SecretsManager()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	use(t, store, "refresh: 1h\ngate_timeout: 5m\n")
	wants := labels()
	for n := range 5 {
		name := fmt.Sprint("five-", n)
		if err := store.Put(ctx, name, fmt.Sprint("value ", n)); err != nil {
			t.Fatal(err)
		}
		wants[fmt.Sprintf("quaymaster.secret.v%d", n)] = store.Ref(name)
	}
	if reports := startMany(ctx, t, starts, wants); reports != starts {
		t.Errorf("%d of %d containers had all five", reports, starts)
	}
	if batches, reads := manager.Count("BatchGetSecretValue", ""), manager.Reads(); batches != 1 || reads != 1 {
		t.Errorf("%d starts led to %d requests, of which %d were for a batch: want one, for a batch", starts, reads, batches)
	}
}

// startMany creates n containers, starts them all at once, and returns how many had a
// file for each secret that they want at their first instruction. It removes
// them before it returns.
func startMany(ctx context.Context, t *testing.T, n int, wants map[string]string) (complete int) {
	t.Helper()
	hostConfig := gated()
	hostConfig.NetworkMode = "none" // a bridge is what takes most of the time of a start
	ids := make([]string, n)
	for i := range ids {
		created, err := h.Engine.Client().ContainerCreate(ctx, probe("hold", wants), hostConfig, nil, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = created.ID
	}
	each(t, ids, n, func(id string) error { return h.Engine.Client().ContainerStart(ctx, id, container.StartOptions{}) })
	for _, id := range ids {
		reports, err := awaitReports(ctx, h, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(reports[0].Files) == len(wants)-1 { // one label is no secret: app
			complete++
		}
	}
	each(t, ids, 8, func(id string) error {
		return h.Engine.Client().ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
	})
	return complete
}

// each does something to all containers, several at a time.
func each(t *testing.T, ids []string, atOnce int, do func(id string) error) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, id := range ids {
		group.Go(func() error { return do(id) })
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
