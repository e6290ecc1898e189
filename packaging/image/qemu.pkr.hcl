# packer build -only='qemu.*': a qcow2 for KVM, from a cloud image. Packer comes in
# by a key that it makes for this build and that cloud-init's seed, a CD of its
# own, brings into the machine. Encrypt the disk where the image is used.

variable "qemu_source" {
  type        = string
  default     = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2"
  description = "qemu: URL or path of the base image with cloud-init; Debian's own by default."
}

variable "qemu_checksum" {
  type        = string
  default     = "file:https://cloud.debian.org/images/cloud/bookworm/latest/SHA512SUMS"
  description = "qemu: its checksum, sha512:… or file:URL; `none` for a file that you made yourself."
}

variable "qemu_accelerator" {
  type        = string
  default     = "kvm"
  description = "qemu: kvm, or tcg where there is none (slow)."
  validation {
    condition     = contains(["kvm", "tcg", "hvf"], var.qemu_accelerator)
    error_message = "The variable qemu_accelerator is kvm, tcg or hvf."
  }
}

variable "qemu_output" {
  type        = string
  default     = "out/image"
  description = "qemu: the directory that is made for the image."
}

source "qemu" "host" {
  iso_url                 = var.qemu_source
  iso_checksum            = var.qemu_checksum
  disk_image              = true
  disk_size               = "8G"
  disk_interface          = "virtio"
  disk_discard            = "unmap"
  disk_detect_zeroes      = "unmap"
  disk_compression        = true
  format                  = "qcow2"
  accelerator             = var.qemu_accelerator
  machine_type            = "q35"
  cpu_model               = var.qemu_accelerator == "tcg" ? "max" : "host"
  cpus                    = 2
  memory                  = 2048
  net_device              = "virtio-net"
  headless                = true
  output_directory        = var.qemu_output
  vm_name                 = "${var.name}-${var.version}.qcow2"
  shutdown_command        = "sudo systemctl poweroff"
  ssh_username            = "packer"
  ssh_timeout             = "20m"
  temporary_key_pair_type = "ed25519"
  boot_wait               = "1s"

  cd_label = "cidata"
  cd_content = {
    "meta-data" = "instance-id: packer-${local.stamp}\n"
    "user-data" = <<-END
      #cloud-config
      users:
        - name: packer
          sudo: ALL=(ALL) NOPASSWD:ALL
          shell: /bin/bash
          ssh_authorized_keys: ['{{ .SSHPublicKey }}']
    END
  }
}
