package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/workload"
)

func validateCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check a configuration without starting anything",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return validate(file, asJSON)
		},
	}
	c.Flags().StringVar(&file, "config", defaultConfig, "configuration `file`")
	c.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return c
}

// verdict is the answer of validate --json.
type verdict struct {
	File     string           `json:"file"`
	Valid    bool             `json:"valid"`
	Problems []config.Problem `json:"problems"`
	Warnings []config.Problem `json:"warnings"`
	// StaticIdentity is the identity, when it is one that is kept in a file.
	StaticIdentity string `json:"static_identity,omitempty"`
	// BootCache is what secrets that are kept on a disk are sealed with, when
	// there is a boot cache.
	BootCache string `json:"boot_cache,omitempty"`
}

// loadConfig reads the configuration, and judges its profiles by what their
// labels mean.
func loadConfig(file string) (config.Config, []config.Problem, error) {
	return config.Load(file, workload.CheckLabels)
}

// remarks says what not every configuration has. It keeps in plain sight what
// makes an exception to a promise: an identity that is kept in a file, and
// secrets that are kept on a disk.
func remarks(c config.Config) (remarks string) {
	if n := len(c.Profiles); n > 0 {
		remarks += fmt.Sprintf(", %d profiles", n)
	}
	if c.IsStatic() {
		remarks += ", STATIC IDENTITY " + c.Identity
	}
	if c.BootCache.Key != "" {
		remarks += ", BOOT CACHE sealed with " + c.BootCache.Key
	}
	return remarks
}

func validate(file string, asJSON bool) error {
	loaded, warnings, err := loadConfig(file)
	problems, _ := errors.AsType[config.Problems](err)
	if asJSON {
		answer := verdict{File: file, Valid: err == nil, Problems: append([]config.Problem{}, problems...), Warnings: append([]config.Problem{}, warnings...)}
		if loaded.IsStatic() {
			answer.StaticIdentity = loaded.Identity
		}
		answer.BootCache = loaded.BootCache.Key
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		if encodeErr := encoder.Encode(answer); encodeErr != nil {
			return encodeErr
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errAnswered, err)
		}
		return nil
	}
	for _, warning := range warnings {
		fmt.Fprintf(os.Stderr, "warning: %s\n", warning)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s: ok: %d grants, %d Vault servers, %d cloud stores%s%s\n", file, len(loaded.Grants), len(loaded.Vaults()), len(loaded.Clouds()),
		remarks(loaded), origins(file))
	return nil
}
