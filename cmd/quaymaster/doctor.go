package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/firstboot"
)

// checkPatience is how long one check may take.
const checkPatience = 5 * time.Second

// The verdicts of a check.
const (
	statusOK      = "ok"
	statusWarning = "warning" // it works, or could not be seen; somebody should know
	statusFailed  = "failed"  // containers will not get their secrets, or not as promised
)

// finding is one line of the answer. Its keys are stable.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Found  string `json:"found"`
	Remedy string `json:"remedy"` // what to do; empty where there is nothing to
}

func fine(found string, args ...any) finding {
	return finding{Status: statusOK, Found: fmt.Sprintf(found, args...)}
}

func doubt(remedy, found string, args ...any) finding {
	return finding{Status: statusWarning, Found: fmt.Sprintf(found, args...), Remedy: remedy}
}

func wrong(remedy, found string, args ...any) finding {
	return finding{Status: statusFailed, Found: fmt.Sprintf(found, args...), Remedy: remedy}
}

func doctorCommand() *cobra.Command {
	var file string
	var asJSON, boot bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look at this host from its identity to its containers, and say what is wrong and what to do",
		Long: "Look at this host from its identity to its containers, and say what is wrong and what to do.\n\n" +
			"It logs in to each Vault as the agent does, asks what the grants name, and revokes its token. It shows no value, and\n" +
			"changes nothing (systemd makes the machine's own key when a boot cache first needs it). Run it as root, in the\n" +
			"agent's environment: what another user cannot see is said.\n\n" +
			"With --boot it is what quaymaster-doctor.service runs: it gives the agent up to a minute, then prints one line when the\n" +
			"host is ready, else one for each thing that failed or is a warning, for the machine's console.\n\n" +
			"Exit codes: 0 nothing failed, 1 something failed, 3 wrong configuration.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if boot && asJSON {
				return usageError{errors.New("--boot prints lines for a console: leave --json out")}
			}
			if boot {
				findings, err := diagnoseBoot(c.Context(), file, bootPatience)
				if printErr := printBoot(os.Stdout, findings); printErr != nil {
					return printErr
				}
				return err
			}
			findings, err := diagnose(c.Context(), file)
			if printErr := printFindings(os.Stdout, findings, asJSON); printErr != nil {
				return printErr
			}
			return err
		},
	}
	c.Flags().StringVar(&file, "config", defaultConfig, "configuration `file` of the agent")
	c.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	c.Flags().BoolVar(&boot, "boot", false, "wait until the agent had its chance, and print for the console")
	return c
}

// diagnose makes all checks. The error is errAnswered when one of them failed,
// beside config.Problems when that is what did.
func diagnose(ctx context.Context, file string) ([]finding, error) {
	loaded, warnings, err := loadConfig(file)
	findings := configuration(file, loaded, warnings, err)
	if err != nil {
		return findings, fmt.Errorf("%w: %w", errAnswered, err)
	}
	findings = append(findings, newDoctor(ctx, loaded).examine(ctx)...)
	for _, f := range findings {
		if f.Status == statusFailed {
			return findings, errAnswered
		}
	}
	return findings, nil
}

// configuration says how the configuration is: a line for each thing that is
// wrong or probably not meant.
func configuration(file string, c config.Config, warnings []config.Problem, err error) (findings []finding) {
	const check = "configuration"
	problems, _ := errors.AsType[config.Problems](err)
	for _, problem := range problems {
		findings = append(findings, named(check, wrong("correct it; quaymaster validate --config "+file+" tells when it is right", "%s", problem)))
	}
	if err != nil && len(problems) == 0 {
		findings = append(findings, named(check, wrong("correct it", "%v", err)))
	}
	for _, problem := range firstboot.Noted(file) {
		findings = append(findings, named(check, givenProblem(problem, err)))
	}
	for _, warning := range warnings {
		findings = append(findings, named(check, doubt("say what is meant, or take it out", "%s", warning)))
	}
	if len(findings) > 0 {
		return findings
	}
	return []finding{named(check, fine("%s: %d grants, %d Vault servers, %d cloud stores%s%s", file,
		len(c.Grants), len(c.Vaults()), len(c.Clouds()), remarks(c), origins(file)))}
}

// givenProblem is what quaymaster configure found wrong with what the instance
// was given. A host that is configured all the same runs with that.
func givenProblem(problem string, err error) finding {
	remedy := "correct what the instance was given (its tags, metadata attributes or user-data)"
	if strings.HasPrefix(problem, unread) {
		remedy = "let this host reach its metadata service, as the error says"
	}
	remedy += ", then systemctl restart quaymaster-configure quaymaster"
	if err != nil {
		return wrong(remedy, "%s", problem)
	}
	return doubt(remedy, "%s; what was configured before counts", problem)
}

func named(check string, f finding) finding {
	f.Check = check
	return f
}

// check is one thing to look at.
type check struct {
	name string
	// after, unless nil, is closed when what the check needs is there: its own
	// time begins then.
	after <-chan struct{}
	run   func(ctx context.Context) finding
}

// doctor knows what several checks need. What is found out once lies in a
// field beside the channel that is closed then.
type doctor struct {
	config   config.Config
	log      *slog.Logger // to nowhere: the findings say it
	host     *hostLook
	engine   *engineLook
	sessions map[string]*session // by the name of the Vault
}

func newDoctor(ctx context.Context, c config.Config) *doctor {
	d := &doctor{config: c, log: slog.New(slog.DiscardHandler), sessions: map[string]*session{}}
	d.host = newHostLook(ctx, c)
	d.engine = newEngineLook()
	for name, settings := range c.Vaults() {
		d.sessions[name] = newSession(name, settings)
	}
	return d
}

// examine makes all checks side by side. The order of the findings is always the
// same.
func (d *doctor) examine(ctx context.Context) []finding {
	end := d.begin(ctx)
	checks := d.checks()
	findings := make([]finding, len(checks))
	var examining sync.WaitGroup
	for i, c := range checks {
		examining.Go(func() { findings[i] = c.examine(ctx) })
	}
	examining.Wait()
	end()
	d.tellUnrevoked(findings)
	return findings
}

// tellUnrevoked says in the line of a login that its token is left, which is
// known only when everything has been asked with it.
func (d *doctor) tellUnrevoked(findings []finding) {
	for i, f := range findings {
		name, isLogin := strings.CutPrefix(f.Check, loginCheck)
		if s := d.sessions[name]; isLogin && s.revokeErr != nil && f.Status == statusOK {
			findings[i] = named(f.Check, doubt("see whether Vault answers; the token ends by itself", "%s; but its token is not revoked: %v", f.Found, s.revokeErr))
		}
	}
}

// begin starts what several checks need; end waits until that has ended.
func (d *doctor) begin(ctx context.Context) (end func()) {
	var running sync.WaitGroup
	done := make(chan struct{})
	running.Go(func() { d.host.look(ctx) })
	running.Go(func() { d.engine.look(ctx, d.config, d.log) })
	for _, s := range d.sessions {
		running.Go(func() { s.run(ctx, d, done) })
	}
	return func() {
		close(done)
		running.Wait()
	}
}

// checks are all of them, in the order in which a secret travels.
func (d *doctor) checks() []check {
	checks := []check{
		{"identity", nil, d.identity},
		{"metadata", d.host.looked, d.metadata},
		{"clock", d.clockAfter(), d.clock},
	}
	checks = append(checks, d.storeChecks()...)
	checks = append(checks, d.grantChecks()...)
	return append(checks,
		check{"engine", d.engine.looked, d.engineAnswers},
		check{"runtime gate", d.engine.looked, d.runtimeGate},
		check{"volume plugin", nil, d.plugin},
		check{"cdi", d.engine.looked, d.devices},
		check{"live-restore", d.engine.looked, d.liveRestore},
		check{"userns-remap", d.engine.looked, d.usernsRemap},
		check{"exec-root", d.engine.looked, d.execRoot},
		check{"agent", nil, d.agent},
		check{"memory", nil, d.memory},
		check{"swap", nil, d.swap},
		check{"units", nil, d.units},
		check{"metadata from containers", d.host.looked, d.fromContainers},
		check{"audit", nil, d.audit},
		check{"state", nil, d.state},
		check{"boot cache", nil, d.bootCache},
	)
}

// examine waits for what the check needs, and for the check no longer than it
// may take, whether or not it heeds its context.
func (c check) examine(ctx context.Context) finding {
	if c.after != nil {
		<-c.after
	}
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	result := make(chan finding, 1)
	go func() { result <- c.run(ctx) }()
	select {
	case f := <-result:
		return named(c.name, f)
	case <-ctx.Done():
	}
	select {
	case f := <-result: // it noticed the end of its time, and says more
		return named(c.name, f)
	case <-time.After(time.Second):
		return named(c.name, wrong("see what hangs: the disk, the network, or the program that was asked", "there was no answer within %s", checkPatience))
	}
}

// ended is text as a sentence that has its end.
func ended(text string) string {
	if strings.HasSuffix(text, "?") || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

func printFindings(to io.Writer, findings []finding, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(findings)
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		text := f.Found
		if f.Remedy != "" {
			text = ended(text) + " What to do: " + f.Remedy
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Status, plain(f.Check), plain(text))
	}
	return table.Flush()
}
