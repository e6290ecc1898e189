package main

import (
	"log/slog"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/bootcache"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// handOn leaves what is held to the agent that comes next, in memory that the
// supervisor keeps. Where there is none, the next one reads everything anew.
func handOn(host *supervisor, b *broker.Broker, log *slog.Logger) {
	held := b.Held()
	content := bootcache.Encode(held)
	for _, h := range held {
		h.Secret.Wipe()
	}
	defer clear(content)
	if err := host.keep(heldName, content); err != nil {
		log.Warn("the next agent will read everything anew", "error", err)
	}
}

// takeOver is what the agent before this one held.
func takeOver(host *supervisor, log *slog.Logger) []secret.Held {
	content := host.kept(heldName)
	if content == nil {
		return nil
	}
	defer clear(content)
	held, err := bootcache.Decode(content)
	if err != nil {
		log.Warn("what the agent before this one held cannot be read, and is read anew", "error", err)
	}
	return held
}
