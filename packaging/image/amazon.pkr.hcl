# packer build -only='amazon-ebs.*': an AMI whose instances take IMDSv2 only.

variable "aws_region" {
  type        = string
  default     = "eu-west-1"
  description = "AWS: the region in which the image is built."
}

variable "aws_copy_regions" {
  type        = list(string)
  default     = []
  description = "AWS: further regions that get a copy."
}

variable "aws_instance_type" {
  type        = string
  default     = "t3.small"
  description = "AWS: the machine that builds; t4g.small for an arm64 image."
}

variable "aws_architecture" {
  type        = string
  default     = "x86_64"
  description = "AWS: x86_64, or arm64 with a package and an instance type for it."
  validation {
    condition     = contains(["x86_64", "arm64"], var.aws_architecture)
    error_message = "The variable aws_architecture is x86_64 or arm64."
  }
}

variable "aws_source" {
  type = object({ name = string, owner = string, user = string })
  default = {
    name  = "debian-12-*"
    owner = "136693071363"
    user  = "admin"
  }
  description = "AWS: the base image's name, its owner's account and its user; Debian's own by default. Amazon Linux: al2023-ami-2023*, 137112412989, ec2-user."
}

variable "aws_kms_key" {
  type        = string
  default     = null
  description = "AWS: the KMS key of the image's disk; without one, the account's own key for EBS. An image that is shared with other accounts needs a key of yours."
}

variable "aws_subnet" {
  type        = string
  default     = null
  description = "AWS: the subnet of the machine that builds; without one, the default VPC's."
}

source "amazon-ebs" "host" {
  region                                    = var.aws_region
  ami_regions                               = var.aws_copy_regions
  ami_name                                  = "${var.name}-${var.version}-${var.aws_architecture}-${local.stamp}"
  ami_description                           = "Docker host with Quaymaster ${var.version}"
  ami_virtualization_type                   = "hvm"
  instance_type                             = var.aws_instance_type
  subnet_id                                 = var.aws_subnet
  ssh_username                              = var.aws_source.user
  ssh_interface                             = "public_ip"
  temporary_key_pair_type                   = "ed25519"
  temporary_security_group_source_public_ip = true
  ena_support                               = true

  source_ami_filter {
    most_recent = true
    owners      = [var.aws_source.owner]
    filters = {
      name                = var.aws_source.name
      architecture        = var.aws_architecture
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  # The machine that builds, and every instance of the image, which says so by
  # itself. EC2 gives an instance of such an image a hop limit of 2: launch it
  # with 1, or containers are the host.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  imds_support = "v2.0"

  encrypt_boot = true
  kms_key_id   = var.aws_kms_key

  tags            = merge(local.labels, { base = "{{ .SourceAMI }}" })
  snapshot_tags   = local.labels
  run_tags        = local.labels
  run_volume_tags = local.labels
}
