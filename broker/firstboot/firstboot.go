// Package firstboot finds the configuration of a host that was booted from an
// image.
//
// Such a host is told what it is by several hands: by who baked the image, by
// who started the instance, by who tagged it. For each top-level key of the
// configuration the first source that sets it counts, and counts alone:
//
//  1. the files on the host, baked in or written by cloud-init;
//  2. the instance's tags, or its metadata attributes;
//  3. the write_files of its user-data, for images without cloud-init.
//
// Whoever may tag an instance need not be root on it, so tags say where to log
// in and as whom, and nothing else; and what the files say, no tag changes. On
// Google's cloud, whose attributes only those may set who could set a startup
// script as well, one attribute may hold a whole configuration.
//
// What the instance was given becomes one file of conf.d, written anew at each
// boot: a comment says where each key is from. It is written as a whole or not
// at all: only what the agent would take together with the files.
package firstboot

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/config"
)

// Prefix begins the names of tags and attributes that are meant for this
// program.
const Prefix = "quaymaster-"

// wholeConfig is the attribute that holds a whole configuration, on Google's
// cloud.
const wholeConfig = Prefix + "config"

// Origin is a top-level key and where its value is from: "the tags of i-…".
type Origin struct{ Key, From string }

// Report is what Configure found.
type Report struct {
	Origins []Origin // of every key that is set, in the order of the keys
	Remarks []string // what is not used, and what could not be seen
}

// source is one layer, and what it is called.
type source struct {
	from  string
	layer config.Layer
}

// Configure makes the instance's part of the configuration whose main file is
// main, from what the instance was given. The error is of type config.Problems
// when what was given, or the files, would not make a configuration, and each
// problem names its source; then what was configured before is left as it was.
// Nothing at all to configure is no error.
func Configure(main string, instance auth.Instance, checks ...config.CheckLabels) (Report, error) {
	h := newHost(main)
	sources, files, err := read(h, instance)
	if err != nil {
		return Report{}, err
	}
	given, _ := config.Given(main, h.own)
	report, chosen := choose(given, sources)
	if instance.Untold != "" && len(instance.Attributes) == 0 {
		report.Remarks = append(report.Remarks, instance.Untold)
	}
	undo, written, err := h.writeFiles(files, nameOf("user-data", instance))
	if err != nil {
		return report, err
	}
	report.Remarks = append(report.Remarks, written.remarks...)
	text := render(chosen, written.lines)
	if _, _, err := config.LoadWith(main, config.Text{Origin: h.own, Data: text}, checks...); err != nil {
		if len(chosen) == 0 && errors.Is(err, config.ErrEmpty) {
			return report, h.remove()
		}
		return report, errors.Join(sourced(err, h.own, report.Origins), undo())
	}
	if len(text) == 0 {
		return report, h.remove()
	}
	return report, h.write(h.own, text)
}

// read takes apart what the instance was given.
func read(h *host, instance auth.Instance) (sources []source, files []config.WriteFile, err error) {
	var problems config.Problems
	add := func(from string, layer config.Layer, err error) {
		if found, is := errors.AsType[config.Problems](err); is {
			problems = append(problems, found...)
		}
		sources = append(sources, source{from, layer})
	}
	tags := maps.Clone(instance.Attributes)
	whole, hasWhole := tags[wholeConfig]
	hasWhole = hasWhole && instance.Cloud == config.IdentityGCP
	if hasWhole {
		delete(tags, wholeConfig)
	}
	layer, err := config.ReadTags(Prefix, tags, func(tag string) string {
		return fmt.Sprintf("%s %s of instance %s", instance.Attribute, clean(tag), clean(instance.ID))
	})
	add(nameOf(instance.Attribute+"s", instance), layer, err)
	if hasWhole {
		from := nameOf(instance.Attribute+" "+wholeConfig, instance)
		layer, err := config.ReadLayer(config.Text{Origin: from, Data: []byte(whole)})
		add(from, layer, err)
	}
	from := nameOf("user-data", instance)
	texts, files, err := h.ours(from, instance.UserData.Reveal()) // to find the configuration in it; only what is below the configuration's directory is kept
	if err == nil {
		layer, err = config.ReadLayer(texts...)
	}
	add(from, layer, err)
	if len(problems) > 0 {
		return nil, nil, problems
	}
	return sources, files, err
}

func nameOf(what string, instance auth.Instance) string {
	return "the " + what + " of " + clean(instance.ID)
}

// clean keeps a name on its line.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

// chosen is a key that the instance sets.
type chosen struct {
	Origin
	value config.Value
}

// choose takes each key from the first that sets it.
func choose(given map[string]config.Place, sources []source) (report Report, all []chosen) {
	from := map[string]string{}
	for key, place := range given {
		from[key] = place.String()
	}
	for _, s := range sources {
		for _, key := range slices.Sorted(maps.Keys(s.layer)) {
			if first, set := from[key]; set {
				report.Remarks = append(report.Remarks, fmt.Sprintf("%s: it is not taken from %s, because it is set by %s", key, s.from, first))
				continue
			}
			from[key] = s.from
			all = append(all, chosen{Origin{key, s.from}, s.layer[key]})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		report.Origins = append(report.Origins, Origin{key, from[key]})
	}
	slices.SortFunc(all, func(a, b chosen) int { return strings.Compare(a.Key, b.Key) })
	return report, all
}

// sourced names the source of what is wrong in the file that is not written.
func sourced(err error, own string, origins []Origin) error {
	problems, is := errors.AsType[config.Problems](err)
	if !is {
		return err
	}
	told := slices.Clone(problems)
	for i, problem := range told {
		key := problem.Key
		if end := strings.IndexAny(key, ".["); end >= 0 {
			key = key[:end]
		}
		for _, origin := range origins {
			if problem.File == own && origin.Key == key {
				told[i].Place = config.Place{File: origin.From}
			}
		}
	}
	return told
}

// OwnFile is the file that Configure writes for the configuration whose main
// file is main.
func OwnFile(main string) string {
	return filepath.Join(filepath.Dir(main), "conf.d", "00-instance.yaml")
}
