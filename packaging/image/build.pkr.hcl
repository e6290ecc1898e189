# One build for all: the same script, whatever the machine is.

build {
  sources = [
    "source.amazon-ebs.host",
    "source.azure-arm.host",
    "source.googlecompute.host",
    "source.qemu.host",
  ]

  provisioner "shell" {
    inline = ["install -d -m 0700 /tmp/quaymaster-image"]
  }

  provisioner "file" {
    sources     = ["${path.root}/provision.sh", "${path.root}/check.sh", var.package]
    destination = "/tmp/quaymaster-image/"
  }

  provisioner "file" {
    content     = var.configuration == null ? "" : var.configuration
    destination = "/tmp/quaymaster-image/quaymaster.yaml"
  }

  # The script of the last provisioner is the last that is done: it takes away
  # the key by which Packer came, too.
  provisioner "shell" {
    inline_shebang = "/bin/sh -eu"
    inline = [
      "cd /tmp/quaymaster-image",
      "if [ -s quaymaster.yaml ]; then sudo install -D -m 0600 quaymaster.yaml /etc/quaymaster/conf.d/50-image.yaml; fi",
      "chmod 0755 provision.sh check.sh",
      "sudo ./provision.sh --package ${basename(var.package)} --gate ${var.gate} ${join(" ", var.provision_options)}",
      "cd / && sudo rm -rf /tmp/quaymaster-image",
    ]
    # Packer would come again to remove the script, which went with /tmp.
    skip_clean = true
  }
}
