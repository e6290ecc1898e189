package workload_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/workload"
)

const ref = "vault:kv/a"

// one parses labels that hold one file called x, and returns that want.
func one(t *testing.T, labels map[string]string) (workload.Want, workload.Wants) {
	t.Helper()
	labels["quaymaster.secret.x"] = ref
	wants, err := workload.ParseLabels(labels, nil)
	if err != nil {
		t.Fatalf("%v: %v", labels, err)
	}
	return wants.Items[0], wants
}

func TestFormats(t *testing.T) {
	for text, want := range map[string]workload.Format{
		"raw":                     {Kind: workload.FormatRaw},
		"json":                    {Kind: workload.FormatJSON},
		"dotenv, newline":         {Kind: workload.FormatDotenv, Newline: workload.NewlineAdd},
		"pem":                     {Kind: workload.FormatPEM},
		"pkcs12,base64":           {Kind: workload.FormatPKCS12, Base64: true},
		"jks":                     {Kind: workload.FormatJKS},
		"template:app.conf":       {Kind: workload.FormatTemplate, Template: "app.conf"},
		"raw,base64,no-newline":   {Kind: workload.FormatRaw, Base64: true, Newline: workload.NewlineStrip},
		"template:a_b-1, newline": {Kind: workload.FormatTemplate, Template: "a_b-1", Newline: workload.NewlineAdd},
	} {
		if got, _ := one(t, map[string]string{"quaymaster.format.x": text}); got.Format != want {
			t.Errorf("%s: %+v, want %+v", text, got.Format, want)
		}
	}
}

func TestDetails(t *testing.T) {
	got, wants := one(t, map[string]string{
		"quaymaster.format.x": "jks", "quaymaster.password.x": "vault:kv/p#word", "quaymaster.refresh.x": "15s",
		"quaymaster.optional.x": "true", "quaymaster.on-rotate": "signal:sighup",
	})
	if !got.Optional || got.Password.String() != "vault:kv/p#word" || got.Refresh != 15*time.Second {
		t.Errorf("%+v", got)
	}
	if wants.OnRotate != (workload.Strategy{Kind: workload.StrategySignal, Signal: "HUP"}) {
		t.Errorf("%+v", wants.OnRotate)
	}
}

func TestStrategies(t *testing.T) {
	for text, want := range map[string]string{
		"none": "{none }", "restart": "{restart }", "signal:HUP": "{signal HUP}", "signal:SIGUSR1": "{signal USR1}",
		"signal:10": "{signal USR1}", "signal:RTMIN+3": "{signal RTMIN+3}", "signal:sigrtmax-14": "{signal RTMAX-14}", "signal:31": "{signal SYS}",
	} {
		if _, wants := one(t, map[string]string{"quaymaster.on-rotate": text}); fmt.Sprint(wants.OnRotate) != want {
			t.Errorf("%s: %v, want %s", text, wants.OnRotate, want)
		}
	}
	if _, wants := one(t, map[string]string{}); wants.OnRotate.Kind != workload.StrategyNone {
		t.Errorf("by default: %v", wants.OnRotate)
	}
}

func TestDetailsRefuse(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"format.x", "yaml", `"yaml" is not a format; they are raw, json, dotenv, pem, pkcs12, jks and template:<name>`},
		{"format.x", "", `"" is not a format`},
		{"format.x", "base64", "write raw,base64"},
		{"format.x", "raw:x", "raw takes no argument"},
		{"format.x", "raw,gzip", `"gzip" is not an option`},
		{"format.x", "raw,", `"" is not an option`},
		{"format.x", "raw,newline,no-newline", "exclude each other"},
		{"format.x", "jks,newline", "jks is not text"},
		{"format.x", "template", "which template?"},
		{"format.x", "template:", "which template?"},
		{"format.x", "template:a/b", "not the name of a template"},
		{"format.x", "template:.a", "begins with a dot"},
		{"format.ghost", "raw", "no file or variable called ghost is asked for"},
		{"format.V", "pem", "pem makes several files, and a variable has one content: ask for it as a file"},
		{"password.x", ref, "only a keystore has a password"},
		{"password.ghost", ref, "no file or variable called ghost"},
		{"password.x", "kv/p", "a ref starts with its provider"},
		{"refresh.x", "soon", "not a time between 1s and 24h"},
		{"refresh.x", "900ms", "not a time between 1s and 24h"},
		{"refresh.x", "25h", "not a time between 1s and 24h"},
		{"refresh.ghost", "1m", "no file or variable called ghost"},
		{"on-rotate", "exec:reload", `"exec": this version knows none, signal:<SIG> and restart`},
		{"on-rotate", "replace", `"replace": this version knows none, signal:<SIG> and restart`},
		{"on-rotate", "reload", `"reload" is not a strategy`},
		{"on-rotate", "restart:now", "restart takes no argument"},
		{"on-rotate", "signal", "which signal?"},
		{"on-rotate", "signal:KILL", "KILL leaves the process no chance"},
		{"on-rotate", "signal:9", "KILL leaves the process no chance"},
		{"on-rotate", "signal:SIGSTOP", "STOP halts the process"},
		{"on-rotate", "signal:HUPP", `there is no signal "HUPP"`},
		{"on-rotate", "signal:0", `there is no signal "0"`},
		{"on-rotate", "signal:64", `there is no signal "64"`},
		{"on-rotate", "signal:RTMIN+16", `there is no signal "RTMIN+16"`},
		{"on-rotate", "signal:RTMIN+03", `there is no signal "RTMIN+03"`},
	} {
		_, err := workload.ParseLabels(map[string]string{
			"quaymaster.secret.x": ref, "quaymaster.env.V": ref, "quaymaster." + c.key: c.value}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "label quaymaster."+c.key) {
			t.Errorf("%s=%s: %v; want %q", c.key, c.value, err, c.want)
		}
	}
}

// TestOneMistakeIsReportedOnce: a bad ref does not make the labels that belong
// to it look as if they belonged to none.
func TestOneMistakeIsReportedOnce(t *testing.T) {
	_, err := workload.ParseLabels(map[string]string{
		"quaymaster.secret.x": "kv/a", "quaymaster.optional.x": "true", "quaymaster.format.x": "json"}, nil)
	if err == nil || strings.Count(err.Error(), "label ") != 1 {
		t.Errorf("%v", err)
	}
}
