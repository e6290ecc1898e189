//go:build tools

// Package packer names the programs that build.sh compiles, so that go.mod and
// go.sum pin them: Packer and the plugins of the templates in packaging/image.
package packer

import (
	_ "github.com/hashicorp/packer"
	_ "github.com/hashicorp/packer-plugin-amazon"
	_ "github.com/hashicorp/packer-plugin-azure"
	_ "github.com/hashicorp/packer-plugin-googlecompute"
	_ "github.com/hashicorp/packer-plugin-qemu"
)
