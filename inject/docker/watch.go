package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/inject"
)

// reconnectDelay is the pause before the engine is asked again. The engine is
// on the same machine and restarts rarely, so the pause neither grows nor
// needs jitter.
const reconnectDelay = time.Second

// learnPatience bounds the look-up of a container that was just created: after
// that long its start has asked for itself.
const learnPatience = 5 * time.Second

// learners is how many containers that were just created are looked up at a time.
const learners = 4

// Watch calls sink for every event, one at a time and in order, until ctx
// ends. When the engine goes away it waits for it to come back; every new
// beginning is an event Connected.
func (e *Engine) Watch(ctx context.Context, sink func(inject.Event)) error {
	lost := false
	for {
		err := e.follow(ctx, func() {
			if lost {
				e.log.Info("docker engine is back")
			}
			lost = false
		}, sink)
		if ctx.Err() != nil {
			return nil
		}
		if !lost {
			e.log.Warn("docker engine does not answer; running containers keep what they have", "error", err)
			lost = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectDelay):
		}
	}
}

// follow reads one stream of events to its end. It subscribes before it lists,
// so that nothing falls between.
func (e *Engine) follow(ctx context.Context, connected func(), sink func(inject.Event)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(learners + 1)
	group.Go(func() error {
		messages, errs := e.api.Events(ctx, events.ListOptions{Filters: filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))})
		if err := e.refresh(ctx); err != nil {
			return err
		}
		connected()
		sink(inject.Event{Kind: inject.Connected})
		for {
			select {
			case err := <-errs:
				return err
			case message := <-messages:
				e.handle(ctx, group, message, sink)
			}
		}
	})
	return group.Wait()
}

// refresh learns all containers there are, and where the engine keeps its
// files, and forgets what is gone.
func (e *Engine) refresh(ctx context.Context) error {
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return err
	}
	present := map[string]string{}
	for _, summary := range list {
		c := describe(summary)
		present[c.ID] = c.image.key()
		if _, err := e.complete(ctx, c); err != nil {
			e.log.Debug("image labels are not known yet", "container", c.ID, "error", err)
		}
	}
	e.forgetAllBut(present)
	if err := e.inquire(ctx); err != nil {
		e.log.Warn("where the engine keeps its files is not known", "error", err)
	}
	e.keep()
	return nil
}

func (e *Engine) handle(ctx context.Context, group *errgroup.Group, message events.Message, sink func(inject.Event)) {
	id, at := message.Actor.ID, time.Unix(0, message.TimeNano)
	switch message.Action {
	case events.ActionCreate:
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, learnPatience)
			defer cancel()
			if err := e.learn(ctx, id); err != nil {
				e.log.Debug("a new container could not be looked up before its start", "container", id, "error", err)
			}
			e.keep()
			return nil
		})
	case events.ActionRename:
		e.rename(id, message.Actor.Attributes["name"])
	case events.ActionStart:
		sink(inject.Event{Kind: inject.Started, Container: id, At: at})
		e.keep() // what its gate was the first to ask for
	case events.ActionDie:
		sink(inject.Event{Kind: inject.Died, Container: id, At: at})
	case events.ActionDestroy:
		e.forget(id)
		sink(inject.Event{Kind: inject.Removed, Container: id, At: at})
	}
}
