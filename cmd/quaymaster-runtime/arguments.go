package main

import (
	"strings"
	"time"
)

// settings are the program's own flags.
type settings struct {
	socket       string
	run          string
	runc         string
	timeout      time.Duration
	printVersion bool
}

const ownPrefix = "--quaymaster-"

// parseSettings takes the program's own flags off the front of the arguments;
// the rest is runc's. When a flag is wrong the rest is still right, so that the
// error can go to runc's log.
func parseSettings(args []string) (s settings, rest []string, err error) {
	s = settings{run: "/run/quaymaster", runc: "runc", timeout: 30 * time.Second}
	for len(args) > 0 && strings.HasPrefix(args[0], ownPrefix) {
		flag := args[0]
		name, value, inline := strings.Cut(strings.TrimPrefix(flag, ownPrefix), "=")
		args = args[1:]
		if name == "version" {
			s.printVersion = true
			continue
		}
		if !inline && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		if problem := s.set(name, value); problem != "" && err == nil {
			err = failure(ownPrefix + name + " " + problem + "; see runtimeArgs in the engine's daemon.json")
		}
	}
	s.socket = s.run + "/runtime.sock"
	return s, args, err
}

// set returns what is wrong with the value.
func (s *settings) set(name, value string) (problem string) {
	if value == "" {
		return "needs a value"
	}
	switch name {
	case "run":
		if s.run = strings.TrimRight(value, "/"); !strings.HasPrefix(value, "/") {
			return "needs an absolute path, not " + value
		}
	case "runc":
		s.runc = value
	case "gate-timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return "needs a duration such as 30s, not " + value
		}
		s.timeout = d
	default:
		return "is no flag of quaymaster-runtime"
	}
	return ""
}

// call is what runc is asked to do, as far as it matters here.
type call struct {
	command   string // "" when none was found
	log       string
	logFormat string
	root      string
	bundle    string // of create and run
	pidFile   string // of create and run: where runc writes the first process's number
	id        string // of create, run, start and exec; "" when it is missing
	process   string // of exec: the file that describes the process; "" when there is none
	processAt int    // the argument that names it
}

// creates reports whether the call makes a container. Without an ID it will
// not: runc says so itself.
func (c call) creates() bool { return (c.command == "create" || c.command == "run") && c.id != "" }

// commands are runc's, by which a flag's value is told from the command.
var commands = [...]string{"checkpoint", "create", "delete", "events", "exec", "features", "init", "kill", "list", "pause",
	"ps", "restore", "resume", "run", "spec", "start", "state", "update", "help"}

// parseCall reads runc's arguments as its flag package does: --f v, --f=v and
// the same with one dash. A flag that this program does not know, from a later
// runc, does not disturb it: the command is the first known one.
func parseCall(args []string) call {
	c := call{root: "/run/runc", bundle: "."}
	all := len(args)
	for len(args) > 0 {
		if isCommand(args[0]) {
			c.command = args[0]
			if args = args[1:]; c.command == "exec" {
				c.parseExec(args, all-len(args))
			} else {
				c.parseCommand(args)
			}
			return c
		}
		name, value, used := flag(args)
		switch name {
		case "":
			return c // a command that this program does not know
		case "log":
			c.log = value
		case "log-format":
			c.logFormat = value
		case "root":
			c.root = value
		case "criu", "rootless":
		default: // takes no value, unless something stands there that can only be one
			if used == 2 && (isCommand(value) || strings.HasPrefix(value, "-")) {
				used = 1
			}
		}
		args = args[min(used, len(args)):]
	}
	return c
}

// parseCommand reads the flags of create, run or start. Flags end where the ID stands,
// which is last.
func (c *call) parseCommand(args []string) {
	if len(args) == 0 || strings.HasPrefix(args[len(args)-1], "-") {
		return
	}
	c.id = args[len(args)-1]
	for args = args[:len(args)-1]; len(args) > 0 && args[0] != "--"; {
		name, value, used := flag(args)
		switch {
		case (name == "bundle" || name == "b") && value != "":
			c.bundle = value
		case name == "pid-file" && value != "":
			c.pidFile = value
		default:
			used = 1
		}
		args = args[min(used, len(args)):]
	}
}

// execSwitches are the flags of runc's exec that take no value.
var execSwitches = [...]string{"tty", "t", "detach", "d", "no-new-privs", "ignore-paused", "help", "h"}

// parseExec reads the flags of exec, of which at is the first one's place. They
// end before the ID, which is the first argument that is no flag: what stands
// behind it belongs to the process. A flag that this program does not know has
// no value where another flag stands behind it, or nothing but the ID.
func (c *call) parseExec(args []string, at int) {
	for len(args) > 0 {
		name, value, used := flag(args)
		switch {
		case name == "":
			if args[0] == "--" {
				args = args[1:]
			}
			if len(args) > 0 {
				c.id = args[0]
			}
			return
		case isSwitch(name) || used == 2 && (len(args) <= 2 || strings.HasPrefix(value, "-")):
			used = 1
		case name == "process" || name == "p":
			c.process, c.processAt = value, at+used-1
		}
		args, at = args[used:], at+used
	}
}

func isSwitch(name string) bool {
	for _, s := range execSwitches {
		if s == name {
			return true
		}
	}
	return false
}

func isCommand(arg string) bool {
	for _, c := range commands {
		if c == arg {
			return true
		}
	}
	return false
}

// flag splits the first argument into a flag's name and value. used says how
// many arguments that takes when the flag has a value. The name is empty when
// it is no flag.
func flag(args []string) (name, value string, used int) {
	arg := args[0]
	if len(arg) < 2 || arg[0] != '-' {
		return "", "", 1
	}
	name, value, inline := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	if inline {
		return name, value, 1
	}
	if len(args) > 1 {
		value = args[1]
	}
	return name, value, 2
}
