package main

import (
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
)

// failure is an error that is ready to be shown.
type failure string

func (f failure) Error() string { return string(f) }

// because adds what could not be done to an error.
func because(what string, err error) error { return failure(what + ": " + err.Error()) }

// fail tells whoever started the container why it did not start, and ends the
// process. The engine shows the last error of the log file that it named with
// --log, word for word; without one it shows what stands on stderr.
func fail(c call, err error) {
	message := "quaymaster: " + err.Error()
	if c.log != "" {
		if problem := appendLog(c, message); problem != nil {
			message += "\nquaymaster: cannot write to the log " + c.log + ": " + problem.Error()
		}
	}
	writeAll(2, []byte(message+"\n"))
	os.Exit(1)
}

func appendLog(c call, message string) error {
	fd, err := syscall.Open(c.log, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CREAT|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return writeAll(fd, logLine(c.logFormat, message, time.Now()))
}

// logLine is one entry as runc writes it, in the format of --log-format.
func logLine(format, message string, now time.Time) []byte {
	at := now.Format(time.RFC3339)
	if format == "json" {
		return []byte(`{"level":"error","msg":` + jsonedit.Quote(message) + `,"time":"` + at + "\"}\n")
	}
	return []byte(`time="` + at + `" level=error msg=` + strconv.Quote(message) + "\n")
}
