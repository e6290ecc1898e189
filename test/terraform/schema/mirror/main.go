// Command mirror makes a directory from which Terraform installs the providers
// aws, azurerm and google without a network, as schemas only (see the package
// schema for what that is and is not). Run in test/terraform:
//
//	go run ./schema/mirror DIRECTORY
//	export TF_CLI_CONFIG_FILE=DIRECTORY/terraform.rc
//	terraform -chdir=… init && terraform -chdir=… test
//
// Other providers may be put beside them, in Terraform's own layout:
// registry.terraform.io/hashicorp/NAME/VERSION/linux_amd64/terraform-provider-NAME_vVERSION.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/quaymaster/quaymaster/test/terraform/schema"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./schema/mirror DIRECTORY")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mirror:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, directory string) error {
	directory, err := filepath.Abs(directory)
	if err != nil {
		return err
	}
	built := filepath.Join(directory, "schema-only")
	build := exec.CommandContext(ctx, "go", "build", "-o", built, "github.com/quaymaster/quaymaster/test/terraform/schema/provider")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	for _, name := range schema.Names {
		if err := install(directory, name, built); err != nil {
			return err
		}
	}
	// direct is left out: a provider that is not in the mirror is an error, not a download.
	config := fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", directory)
	return os.WriteFile(filepath.Join(directory, "terraform.rc"), []byte(config), 0o644)
}

// install puts a link to the program where Terraform looks for a provider,
// under the version whose schema it is. The program goes by its file's name.
func install(directory, name, program string) error {
	read, err := schema.Read(name)
	if err != nil {
		return err
	}
	place := filepath.Join(directory, "registry.terraform.io", "hashicorp", name, read.Version, runtime.GOOS+"_"+runtime.GOARCH)
	if err := os.MkdirAll(place, 0o755); err != nil {
		return err
	}
	link := filepath.Join(place, "terraform-provider-"+name+"_v"+read.Version)
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Link(program, link)
}
