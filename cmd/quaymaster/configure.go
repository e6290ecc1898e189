package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/firstboot"
	"github.com/quaymaster/quaymaster/broker/workload"
)

const (
	// configurePatience bounds the whole command: the agent waits for it.
	configurePatience = 12 * time.Second
	// metadataTries is how often a service is asked that is there and does not
	// answer, as one that has just come up may not.
	metadataTries = 3
)

// unread begins what is said when nobody answered.
const unread = "what this instance was given could not be read"

func configureCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "configure",
		Short: "Write down what this instance was given as its configuration",
		Long: "Write down what this instance was given as its configuration.\n\n" +
			"For each top-level key the first that sets it counts: the files of /etc/quaymaster; the instance's tags (AWS, Azure) or\n" +
			"metadata attributes (GCP) whose names begin with quaymaster-, such as quaymaster-vault-address; the write_files of its\n" +
			"user-data. What the instance sets becomes conf.d/00-instance.yaml, as a whole or not at all: if it would not be valid, or\n" +
			"if the metadata service does not answer, that file stays as it was. quaymaster-configure.service runs this at each\n" +
			"boot, before the agent.\n\n" +
			"It prints where each key is from. It ends within 15 seconds, and at once on a machine that is in no cloud.\n\n" +
			"Exit codes: 0 done, or nothing to do; 1 the metadata service does not answer, or a file cannot be written; 3 what the\n" +
			"instance was given, or the files, make no configuration.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return configure(c.Context(), file) },
	}
	c.Flags().StringVar(&file, "config", defaultConfig, "configuration `file` of the agent")
	return c
}

func configure(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, configurePatience)
	defer cancel()
	cloud, reason := instanceCloud(ctx, file)
	if cloud == "" {
		fmt.Printf("the files of this host are its whole configuration: %s\n", reason)
		return firstboot.Note(file, nil)
	}
	instance, err := readInstance(ctx, cloud)
	if err != nil {
		err = fmt.Errorf(unread+", and its configuration is as it was: %w", err)
		return errors.Join(err, firstboot.Note(file, []string{err.Error()}))
	}
	report, err := firstboot.Configure(file, instance, workload.CheckLabels)
	var problems []string
	if err != nil {
		problems = strings.Split(err.Error(), "\n")
	}
	tellOrigins(report)
	return errors.Join(err, firstboot.Note(file, problems))
}

func tellOrigins(report firstboot.Report) {
	for _, origin := range report.Origins {
		fmt.Printf("%s: from %s\n", origin.Key, origin.From)
	}
	if len(report.Origins) == 0 {
		fmt.Println("nothing configures this host")
	}
	for _, remark := range report.Remarks {
		fmt.Fprintf(os.Stderr, "quaymaster: %s\n", remark)
	}
}

// instanceCloud is the cloud whose instance this machine is: the one that the
// files name, or the one that it turns out to run in. Empty: none, and why.
func instanceCloud(ctx context.Context, file string) (cloud detect.Cloud, reason string) {
	_, identity := config.Given(file, firstboot.OwnFile(file))
	named := config.Config{Identity: identity}
	if named.IsStatic() {
		return "", "its identity is static"
	}
	if identity != config.IdentityAuto {
		return detect.Cloud(identity), ""
	}
	cloud, err := detect.Detect(ctx, detect.Options{Getenv: os.Getenv})
	if err != nil {
		return "", err.Error()
	}
	return cloud, ""
}

// readInstance asks again what is there and does not answer.
func readInstance(ctx context.Context, cloud detect.Cloud) (instance auth.Instance, err error) {
	for try := range metadataTries {
		if try > 0 {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return auth.Instance{}, err
			}
		}
		instance, err = askInstance(ctx, cloud)
		if !errors.Is(err, auth.ErrUnavailable) {
			return instance, err
		}
	}
	return instance, err
}

func askInstance(ctx context.Context, cloud detect.Cloud) (auth.Instance, error) {
	switch cloud {
	case detect.AWS:
		return aws.ReadInstance(ctx, firstboot.Prefix)
	case detect.Azure:
		return azure.ReadInstance(ctx, azure.Options{}, firstboot.Prefix)
	case detect.GCP:
		return gcp.ReadInstance(ctx, firstboot.Prefix)
	}
	return auth.Instance{}, fmt.Errorf("identity %q: %w", cloud, auth.ErrNoIdentity)
}

// origins says what of the configuration the instance was given.
func origins(file string) string {
	var said strings.Builder
	for _, origin := range firstboot.Origins(file) {
		fmt.Fprintf(&said, "; %s from %s", origin.Key, origin.From)
	}
	return said.String()
}
