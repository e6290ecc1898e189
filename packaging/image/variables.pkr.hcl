# What all builders share. Each needs Packer 1.10 or newer and finds its own way
# to its cloud: by the identity of the machine that Packer runs on, or by what
# `aws sso login`, `az login` or `gcloud auth` left there. No template takes a key.

packer {
  required_version = ">= 1.10.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.2"
    }
    azure = {
      source  = "github.com/hashicorp/azure"
      version = ">= 2.1.0"
    }
    googlecompute = {
      source  = "github.com/hashicorp/googlecompute"
      version = ">= 1.1.8"
    }
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.0.9"
    }
  }
}

variable "package" {
  type        = string
  description = "The deb or rpm of Quaymaster that is baked in, as packaging/build.sh makes it."
  validation {
    condition     = can(regex("\\.(deb|rpm)$", var.package))
    error_message = "The variable package names a .deb or an .rpm."
  }
}

variable "version" {
  type        = string
  description = "Version of the image, as tags and names carry it: three numbers, as Azure's galleries want."
  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.version))
    error_message = "The variable version is three numbers, such as 1.4.0."
  }
}

variable "name" {
  type        = string
  default     = "quaymaster-host"
  description = "What the images are called, before their version."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,40}$", var.name))
    error_message = "The variable name is of lower-case letters, digits and hyphens, as all clouds take it."
  }
}

variable "gate" {
  type        = string
  default     = "runtime"
  description = "The gate that is entered into daemon.json: runtime, or none."
  validation {
    condition     = contains(["runtime", "none"], var.gate)
    error_message = "The variable gate is runtime or none."
  }
}

variable "provision_options" {
  type        = list(string)
  default     = []
  description = "Further options of provision.sh, such as --no-docker."
}

variable "configuration" {
  type        = string
  default     = null
  description = "A quaymaster.yaml that is baked in; without one the first boot brings the configuration. It holds no secret."
}

locals {
  labels = {
    name    = var.name
    version = var.version
    builder = "packer"
  }
  stamp = formatdate("YYYYMMDDhhmmss", timestamp())
  # GCP's names and labels have no dots.
  dashed = replace(var.version, ".", "-")
}
