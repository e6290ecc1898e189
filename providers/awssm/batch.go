package awssm

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

const (
	// sideBySide is how many requests of one batch are under way at once.
	sideBySide = 8
	// batchDenied is how long BatchGetSecretValue is left alone after it was
	// denied: it takes a permission of its own, which reading does not need.
	batchDenied = time.Hour
)

// batchSize is how many secrets one request takes ("BatchGetSecretValue" and
// "GetParameters" in the API references).
var batchSize = map[store]int{secretsManager: 20, parameterStore: 10}

// item is one ref of a batch, and where its answer belongs.
type item struct {
	target
	index int
}

// batch is a batch under way.
type batch struct {
	*Provider
	answers []providers.Answer // each written by one goroutine
	single  bool               // BatchGetSecretValue is not allowed
	slots   chan struct{}
	running sync.WaitGroup
}

// FetchBatch implements providers.Batcher. What one request cannot read
// together is read side by side: other versions than the current one,
// hierarchies, and what is refused to the batch but may not be to a single read.
func (p *Provider) FetchBatch(ctx context.Context, refs []secret.Ref) []providers.Answer {
	b := &batch{Provider: p, answers: make([]providers.Answer, len(refs)), single: !p.mayBatch(), slots: make(chan struct{}, sideBySide)}
	groups := map[store]map[string][]item{secretsManager: {}, parameterStore: {}} // by region
	for i, ref := range refs {
		t, err := parse(ref)
		switch {
		case err != nil:
			b.answers[i].Err = err
		case t.ref.Version != "" || t.below || (t.store == parameterStore && t.region != ""):
			b.alone(ctx, item{t, i})
		default:
			groups[t.store][t.region] = append(groups[t.store][t.region], item{t, i})
		}
	}
	for store, regions := range groups {
		for _, items := range regions {
			for _, chunk := range chunks(items, batchSize[store]) {
				b.together(ctx, store, chunk)
			}
		}
	}
	b.running.Wait()
	return b.answers
}

// chunks cuts items so that each chunk names at most size secrets. One that
// is wanted twice is named once.
func chunks(items []item, size int) (all [][]item) {
	byID := map[string][]item{}
	var order []string
	for _, i := range items {
		if byID[i.id] == nil {
			order = append(order, i.id)
		}
		byID[i.id] = append(byID[i.id], i)
	}
	for len(order) > 0 {
		n := min(size, len(order))
		var chunk []item
		for _, id := range order[:n] {
			chunk = append(chunk, byID[id]...)
		}
		all, order = append(all, chunk), order[n:]
	}
	return all
}

// names are the secrets of a chunk, each once, as they are named in a region.
func names(chunk []item, region string) (all []string) {
	seen := map[string]bool{}
	for _, i := range chunk {
		if !seen[i.id] {
			all = append(all, i.in(region))
		}
		seen[i.id] = true
	}
	return all
}

// start runs part of the batch when there is room for it.
func (b *batch) start(part func()) {
	b.running.Go(func() {
		b.slots <- struct{}{}
		defer func() { <-b.slots }()
		part()
	})
}

// alone reads items one by one.
func (b *batch) alone(ctx context.Context, items ...item) {
	for _, i := range items {
		b.start(func() {
			a := &b.answers[i.index]
			a.Secret, a.Err = b.read(ctx, i.target)
		})
	}
}

// together reads a chunk in one request, if that is worth it and allowed.
func (b *batch) together(ctx context.Context, in store, chunk []item) {
	switch {
	case len(names(chunk, b.region)) == 1 || (in == secretsManager && b.single):
		b.alone(ctx, chunk...)
	case in == secretsManager:
		b.start(func() { b.secrets(ctx, chunk) })
	default:
		b.start(func() { b.parameters(ctx, chunk) })
	}
}

// secrets reads a chunk from Secrets Manager.
func (b *batch) secrets(ctx context.Context, chunk []item) {
	issued, region := b.now(), ""
	answer, err := ask(ctx, b.Provider, chunk[0].target, "secretsmanager:BatchGetSecretValue",
		func(c *clients, in string) (*secretsmanager.BatchGetSecretValueOutput, error) {
			region = in
			return c.secrets.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: names(chunk, in)})
		})
	if err != nil {
		if errors.Is(err, providers.ErrDenied) {
			b.denyBatch()
		}
		b.failed(ctx, chunk, err)
		return
	}
	found, missing := map[string]content{}, map[string]bool{}
	for _, value := range answer.SecretValues {
		if value.Name == nil || value.ARN == nil {
			continue // not AWS's: what is not found is read alone, and fails there
		}
		c := content{value.VersionId, value.SecretString, value.SecretBinary}
		whole := *value.ARN
		found[*value.Name], found[whole], found[whole[:max(0, len(whole)-len("-abcdef"))]] = c, c, c
	}
	for _, failure := range answer.Errors {
		if failure.SecretId != nil && failure.ErrorCode != nil {
			missing[*failure.SecretId] = *failure.ErrorCode == "ResourceNotFoundException"
		}
	}
	for _, i := range chunk {
		id := i.in(region)
		if c, is := found[id]; is {
			a := &b.answers[i.index]
			a.Secret, a.Err = secretOf(i.target, issued, c)
			continue
		}
		b.unanswered(ctx, i, region, missing[id])
	}
}

// parameters reads a chunk from Parameter Store.
func (b *batch) parameters(ctx context.Context, chunk []item) {
	issued, decrypt := b.now(), true
	answer, err := ask(ctx, b.Provider, chunk[0].target, "ssm:GetParameters", func(c *clients, in string) (*ssm.GetParametersOutput, error) {
		return c.parameters.GetParameters(ctx, &ssm.GetParametersInput{Names: names(chunk, in), WithDecryption: &decrypt})
	})
	if err != nil {
		b.failed(ctx, chunk, err)
		return
	}
	found, missing := map[string]*types.Parameter{}, map[string]bool{}
	for _, parameter := range answer.Parameters {
		if parameter.Name != nil {
			found[*parameter.Name] = &parameter
		}
	}
	for _, name := range answer.InvalidParameters {
		missing[name] = true
	}
	for _, i := range chunk {
		if parameter := found[i.id]; parameter != nil {
			a := &b.answers[i.index]
			a.Secret, a.Err = parameterOf(i.target, issued, parameter)
			continue
		}
		b.unanswered(ctx, i, b.region, missing[i.id])
	}
}

// unanswered is an item that a batch left out. Only that it is missing is
// taken from the batch; any other reason is found out by reading it alone.
func (b *batch) unanswered(ctx context.Context, i item, region string, missing bool) {
	if !missing {
		b.alone(ctx, i)
		return
	}
	q := question{service: i.store.title, region: region, name: i.in(region)}
	b.answers[i.index].Err = &failure{question: q, kind: providers.ErrNotFound, reason: missingHere}
}

// failed is a chunk that was not read. An outage is one for all of it; a
// refusal may be for the sake of a single item, or of the batch itself.
func (b *batch) failed(ctx context.Context, chunk []item, err error) {
	why, is := errors.AsType[*failure](err)
	if !is || !errors.Is(err, providers.ErrUnavailable) {
		b.alone(ctx, chunk...)
		return
	}
	for _, i := range chunk {
		own := *why
		own.name = strings.Replace(own.name, chunk[0].id, i.id, 1)
		b.answers[i.index].Err = &own
	}
}

func (p *Provider) mayBatch() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.now().Before(p.noBatch)
}

func (p *Provider) denyBatch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noBatch = p.now().Add(batchDenied)
}
