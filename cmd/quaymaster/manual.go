package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// manualCommand writes the manual pages: one for each command, from what its
// --help says. Only the packages' build calls it.
func manualCommand() *cobra.Command {
	var date string
	c := &cobra.Command{
		Use:    "manual DIRECTORY",
		Short:  "Write the manual pages",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return writeManual(args[0], date, c.Root())
		},
	}
	c.Flags().StringVar(&date, "date", "", "`day` that the pages bear")
	return c
}

func writeManual(dir, date string, c *cobra.Command) error {
	file := filepath.Join(dir, pageName(c)+".8")
	err := os.WriteFile(file, []byte(page(c, date)), 0o644)
	for _, below := range c.Commands() {
		if hasPage(below) {
			err = errors.Join(err, writeManual(dir, date, below))
		}
	}
	return err
}

// hasPage reports whether a command has a page: those that cobra adds itself
// explain themselves.
func hasPage(c *cobra.Command) bool {
	return c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion"
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// page is the manual page of one command (man(7)).
func page(c *cobra.Command, date string) string {
	var p strings.Builder
	fmt.Fprintf(&p, ".TH %s 8 %q %q Quaymaster\n", strings.ToUpper(pageName(c)), date, "Quaymaster "+version)
	fmt.Fprintf(&p, ".SH NAME\n%s \\- %s\n", roff(pageName(c)), roff(lowerFirst(c.Short)))
	fmt.Fprintf(&p, ".SH SYNOPSIS\n.B %s\n", roff(useLine(c)))
	description := c.Long
	if description == "" {
		description = c.Short + "."
	}
	fmt.Fprintf(&p, ".SH DESCRIPTION\n%s\n", roff(description))
	if flags := c.LocalFlags().FlagUsages(); flags != "" {
		fmt.Fprintf(&p, ".SH OPTIONS\n.nf\n%s.fi\n", roff(flags))
	}
	related := commands(&p, c)
	if c.HasParent() {
		related = append(related, reference(c.Parent()))
	} else {
		p.WriteString(manualEnd)
		related = append(related, ".BR quaymaster\\-runtime (8)")
	}
	fmt.Fprintf(&p, ".SH SEE ALSO\n%s\n", strings.Join(related, ",\n"))
	return p.String()
}

// commands writes what there is below a command, and returns the references to
// it.
func commands(p *strings.Builder, c *cobra.Command) (references []string) {
	for _, below := range c.Commands() {
		if !hasPage(below) {
			continue
		}
		if references == nil {
			p.WriteString(".SH COMMANDS\n")
		}
		fmt.Fprintf(p, ".TP\n.B %s\n%s\n", roff(below.Name()), roff(lowerFirst(below.Short)))
		references = append(references, reference(below))
	}
	return references
}

func useLine(c *cobra.Command) string {
	if c.HasAvailableSubCommands() {
		return c.CommandPath() + " COMMAND"
	}
	return c.UseLine()
}

func reference(c *cobra.Command) string { return ".BR " + roff(pageName(c)) + " (8)" }

// manualEnd is what holds for all commands.
const manualEnd = `.SH EXIT STATUS
.TP
0
done
.TP
1
failed
.TP
2
wrong usage
.TP
3
wrong configuration
.SH FILES
.TP
.I /etc/quaymaster/quaymaster.yaml
the configuration, with
.I /etc/quaymaster/conf.d/*.yaml
.TP
.I /var/log/quaymaster/audit.jsonl
every decision; never a value
.TP
.I /var/lib/quaymaster
what the agent keeps from boot to boot; no plaintext of a secret
.TP
.I /run/quaymaster
its sockets, and the memory filesystem with the secrets of containers
`

// roff writes text as text: hyphens to be copied as such, no line taken for a
// request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "")
}

func lowerFirst(text string) string { return strings.ToLower(text[:1]) + text[1:] }
