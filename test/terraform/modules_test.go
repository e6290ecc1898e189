//go:build terraform

// Package terraform_test holds every Terraform module and example against
// Terraform itself, offline: formatting, names and types, and their own tests
// under mock_provider.
//
// aws, azurerm and google are not the providers but their schemas (see the
// package schema for what that does not see); vault is the real one, which
// build.sh makes.
package terraform_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/quaymaster/quaymaster/test/terraform/schema"
)

// roots are where modules lie, below the tree's own root.
var roots = []string{"terraform", filepath.Join("examples", "terraform")}

var scratch string // of all tests, removed at the end

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "modules"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		code := m.Run()
		for _, name := range schema.Names {
			if read, err := schema.Read(name); err == nil {
				fmt.Printf("checked by the schema of %s %s (%s)\n", read.Name, read.Version, read.Package)
			}
		}
		fmt.Println("That is a home-made checker of names, nesting and types, not the providers: it sees no enumerations, no arguments that exclude each other, and nothing inside a JSON policy.")
		return code
	}())
}

// tools are what the tests run Terraform with.
type tools struct{ terraform, config string } // the program; a configuration that installs providers from a directory

// made finds the tools, and makes what is missing, once.
var made = sync.OnceValues(func() (tools, error) {
	program, err := run("./build.sh", "terraform")
	if err != nil {
		return tools{}, err
	}
	directory := filepath.Join(scratch, "mirror")
	if _, err := run("go", "run", "./schema/mirror", directory); err != nil {
		return tools{}, err
	}
	return tools{program, filepath.Join(directory, "terraform.rc")}, addVault(directory)
})

// addVault puts the real Vault provider beside the schemas, at the same place
// as in its own mirror. Terraform follows a link to a file, and none to a
// directory.
func addVault(directory string) error {
	from, err := run("./build.sh", "mirror")
	if err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(from, "registry.terraform.io", "hashicorp", "vault", "*", "*", "terraform-provider-vault_*"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("in %s there is not one Vault provider but %q: %w", from, found, err)
	}
	below, err := filepath.Rel(from, found[0])
	if err != nil {
		return err
	}
	to := filepath.Join(directory, below)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Symlink(found[0], to)
}

func run(name string, arguments ...string) (string, error) {
	command := exec.Command(name, arguments...)
	command.Stderr = os.Stderr
	said, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(arguments, " "), err)
	}
	return strings.TrimSpace(string(said)), nil
}

// terraform runs a command of it in a directory and returns what it said.
func terraform(t *testing.T, directory string, arguments ...string) (string, error) {
	t.Helper()
	with, err := made()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), with.terraform, arguments...)
	command.Dir = directory
	command.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+with.config, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
	said, err := command.CombinedOutput()
	return string(said), err
}

// works is a command that must succeed.
func works(t *testing.T, directory string, arguments ...string) {
	t.Helper()
	if said, err := terraform(t, directory, arguments...); err != nil {
		t.Fatalf("terraform %s: %v\n%s", strings.Join(arguments, " "), err, said)
	}
}

// modules are all directories with .tf files, below the tree's root.
func modules(t *testing.T, root string) (all []string) {
	t.Helper()
	for _, below := range roots {
		err := filepath.WalkDir(filepath.Join(root, below), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			if strings.HasPrefix(entry.Name(), ".terraform") {
				return fs.SkipDir
			}
			if files, _ := filepath.Glob(filepath.Join(path, "*.tf")); len(files) > 0 {
				name, err := filepath.Rel(root, path)
				all = append(all, name)
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 3 {
		t.Fatalf("only the modules %q were found: the walk is broken", all)
	}
	return all
}

// copied is a copy of all modules, so that nothing is written into the tree and
// a test can break what it likes.
func copied(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, below := range roots {
		from := filepath.Join("..", "..", below)
		err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(from, path)
			to := filepath.Join(root, below, name)
			switch {
			case err != nil:
				return err
			case entry.IsDir() && strings.HasPrefix(entry.Name(), ".terraform"):
				return fs.SkipDir
			case entry.IsDir():
				return os.MkdirAll(to, 0o755)
			case strings.HasPrefix(entry.Name(), ".terraform"):
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestModulesAreFormatted(t *testing.T) {
	for _, below := range roots {
		if said, err := terraform(t, filepath.Join("..", "..", below), "fmt", "-check", "-diff", "-recursive"); err != nil {
			t.Errorf("terraform fmt would change:\n%s", said)
		}
	}
}

func TestModulesAreDocumented(t *testing.T) {
	if said, err := exec.CommandContext(t.Context(), "go", "run", "./docs", "-check").CombinedOutput(); err != nil {
		t.Errorf("%s", said)
	}
}

// A module that has a README is one that people use, and has tests.
func TestModules(t *testing.T) {
	root := copied(t)
	for _, name := range modules(t, root) {
		t.Run(name, func(t *testing.T) {
			directory := filepath.Join(root, name)
			works(t, directory, "init", "-backend=false", "-input=false", "-no-color")
			works(t, directory, "validate", "-no-color")
			tests, _ := filepath.Glob(filepath.Join(directory, "tests", "*.tftest.hcl"))
			if _, err := os.Stat(filepath.Join(directory, "README.md")); err == nil && len(tests) == 0 {
				t.Errorf("%s has no tests/*.tftest.hcl", name)
			}
			if len(tests) > 0 {
				works(t, directory, "test", "-no-color")
			}
		})
	}
}

// ofCloud is the beginning of a resource whose schema is here.
var ofCloud = regexp.MustCompile(`(?m)^resource "(aws|azurerm|google)_[a-z0-9_]+" "[a-z0-9_]+" \{\n`)

// The checker checks every module: an argument that no resource has is found
// wherever it is.
func TestAnUnknownArgumentIsFoundInEveryFile(t *testing.T) {
	found := 0
	for _, name := range modules(t, filepath.Join("..", "..")) {
		files, _ := filepath.Glob(filepath.Join("..", "..", name, "*.tf"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head := ofCloud.FindString(string(text))
			if head == "" {
				continue
			}
			found++
			broken := defect{name, filepath.Base(file), head, head + "  imds_hops = 1\n", `An argument named "imds_hops" is not expected here`}
			t.Run(filepath.Join(name, filepath.Base(file)), broken.isFound)
		}
	}
	if found == 0 {
		t.Error("no module has a resource of aws, azurerm or google")
	}
}

// defect is a change to one file of a module, and what must be said about it.
type defect struct{ module, file, old, new, says string }

func (d defect) apply(t *testing.T) (directory string) {
	t.Helper()
	directory = filepath.Join(copied(t), d.module)
	path := filepath.Join(directory, d.file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), d.old, d.new, 1)
	if changed == string(text) {
		t.Fatalf("%s has no %q: the defect is out of date", path, d.old)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	works(t, directory, "init", "-backend=false", "-input=false", "-no-color")
	return directory
}

// isFound: validate says it.
func (d defect) isFound(t *testing.T) {
	d.fails(t, "validate", "-no-color")
}

func (d defect) fails(t *testing.T, command ...string) {
	said, err := terraform(t, d.apply(t), command...)
	if plain := strings.Join(strings.Fields(said), " "); err == nil || !strings.Contains(plain, d.says) {
		t.Errorf("%s → %s: %v\n%s\ndoes not say %s", d.old, d.new, err, said, d.says)
	}
}

const aws = "terraform/aws"

func TestTheCheckerFinds(t *testing.T) {
	for name, d := range map[string]defect{
		"a misspelt argument":        {aws, "main.tf", "http_tokens ", "http_token ", `An argument named "http_token" is not expected here`},
		"a misspelt block":           {aws, "main.tf", "metadata_options {", "metadata_option {", `Blocks of type "metadata_option" are not expected here`},
		"a block written as a value": {aws, "main.tf", "metadata_options {", "metadata_options = {", `An argument named "metadata_options" is not expected here`},
		"an argument a level up":     {aws, "main.tf", "    ebs {\n", "    encrypted = true\n    ebs {\n", `An argument named "encrypted" is not expected here`},
		"a second block of one":      {aws, "main.tf", "  metadata_options {", "  metadata_options {\n  }\n  metadata_options {", "Too many metadata_options blocks"},
		"a missing argument":         {aws, "main.tf", "    strategy = \"Rolling\"\n", "", `The argument "strategy" is required`},
		"a wrong type":               {aws, "main.tf", "= var.ami_id", "= [var.ami_id]", `Inappropriate value for attribute "image_id": string required`},
		"a value that cannot be set": {aws, "main.tf", "= var.ami_id", "= var.ami_id\n  latest_version = 3", `Can't configure a value for "latest_version"`},
		"an attribute not there":     {aws, "main.tf", "aws_iam_instance_profile.host.arn", "aws_iam_instance_profile.host.arm", `no argument, nested block, or exported attribute named "arm"`},
		"an unknown resource":        {aws, "main.tf", `resource "aws_launch_template"`, `resource "aws_launch_templates"`, `does not support resource type "aws_launch_templates"`},
	} {
		t.Run(name, d.isFound)
	}
}

// The modules' own tests are tried, too: each of these makes a host less safe.
func TestTheTestsOfAWSFind(t *testing.T) {
	for name, d := range map[string]defect{
		"metadata without a session": {aws, "main.tf", `= "required"`, `= "optional"`, "Test assertion failed"},
		"a second hop":               {aws, "main.tf", "hop_limit = 1", "hop_limit = 2", "Test assertion failed"},
		"a disk in the clear":        {aws, "main.tf", "encrypted             = true", "encrypted             = false", "Test assertion failed"},
		"names that only begin so":   {aws + "/permissions", "main.tf", `["", "-??????"] : ["-??????"]`, `["*"] : ["*"]`, "Test assertion failed"},
		"a star that crosses":        {aws + "/permissions", "main.tf", `"(^|[^*])\\*([^*]|$)"`, `"[.][*][.]"`, "Test assertion failed"},
		"keys for everything":        {aws + "/permissions", "main.tf", `"kms:ViaService" = s.via`, `"kms:ViaService" = ["*"]`, "Test assertion failed"},
		"trees for paths":            {aws + "/permissions", "main.tf", `["false"]`, `["true", "false"]`, "Test assertion failed"},
	} {
		t.Run(name, func(t *testing.T) { d.fails(t, "test", "-no-color") })
	}
}

const azure, gcp = "terraform/azure", "terraform/gcp"

func TestTheTestsOfAzureAndGoogleCloudFind(t *testing.T) {
	for name, d := range map[string]defect{
		"azure: a vault for a secret":           {azure + "/permissions", "main.tf", `/secrets/${split("/", name)[1]}"`, `"`, "Test assertion failed"},
		"azure: a star within a name":           {azure + "/permissions", "main.tf", `!contains(["*", "**"], ref.secret)`, `false`, "Test assertion failed"},
		"azure: another's identity":             {azure + "/permissions", "main.tf", `&& try(store.client_id, null) == null`, ``, "Test assertion failed"},
		"azure: no measured boot":               {azure, "main.tf", "secure_boot_enabled        = true", "secure_boot_enabled        = false", "Test assertion failed"},
		"azure: metadata for containers":        {azure, "main.tf", "block_metadata     = var.block_metadata_from_containers", "block_metadata     = false", "Test assertion failed"},
		"google: a beginning within a name":     {gcp + "/permissions", "main.tf", `[*]?|[*][*])$"`, `[*]?.*|[*][*])$"`, "Test assertion failed"},
		"google: all versions for one":          {gcp + "/permissions", "main.tf", `contains(refs[*].pin, "") ? null`, `true ? null`, "Test assertion failed"},
		"google: other names of the project":    {gcp + "/permissions", "main.tf", `: "secrets/${replace`, `: "secrets${replace`, "Test assertion failed"},
		"google: an account for its machines":   {gcp, "main.tf", `email  = google_service_account.host.email`, `email  = null`, "Test assertion failed"},
		"google: keys of the project's members": {gcp, "main.tf", `block-project-ssh-keys     = "TRUE"`, `block-project-ssh-keys     = "FALSE"`, "Test assertion failed"},
	} {
		t.Run(name, func(t *testing.T) { d.fails(t, "test", "-no-color") })
	}
}
