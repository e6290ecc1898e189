variable "name" {
  description = "What the hosts, their role and their group are called, and how names begin that must be unique."
  type        = string
  default     = "quaymaster"
  nullable    = false
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_.-]{0,36}$", var.name))
    error_message = "name is \"${var.name}\": use up to 37 letters, digits and _.-, for AWS adds its own characters to names of roles."
  }
}

variable "ami_id" {
  description = "The image that the hosts boot: one that packaging/image made, or any with cloud-init and a package_repository."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^(ami-[0-9a-f]{8,17}|resolve:ssm:.+)$", var.ami_id))
    error_message = "ami_id is \"${var.ami_id}\": write it as ami-0123456789abcdef0 or resolve:ssm:/path/of/a/parameter."
  }
}

variable "instance_type" {
  description = "The type of instance, of the same architecture as the image."
  type        = string
  default     = "t3.small"
  nullable    = false
  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type is \"${var.instance_type}\": write it as in t3.small."
  }
}

variable "subnet_ids" {
  description = "Where the hosts run; subnets of several zones."
  type        = list(string)
  nullable    = false
  validation {
    condition     = length(var.subnet_ids) > 0 && alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "subnet_ids names at least one subnet, each as in subnet-0123456789abcdef0."
  }
}

variable "security_group_ids" {
  description = "The hosts' security groups. Hosts need no way in; out to Vault, AWS's APIs and registries."
  type        = list(string)
  nullable    = false
  validation {
    condition     = length(var.security_group_ids) > 0 && alltrue([for id in var.security_group_ids : can(regex("^sg-[0-9a-f]+$", id))])
    error_message = "security_group_ids names at least one group, each as in sg-0123456789abcdef0: without one the VPC's default group would count."
  }
}

variable "size" {
  description = "How many hosts: the least, the most, and how many to begin with (null: the group decides)."
  type        = object({ min = number, max = number, desired = optional(number) })
  default     = { min = 1, max = 2 }
  nullable    = false
  validation {
    condition     = var.size.min >= 0 && var.size.max >= var.size.min && var.size.max >= 1
    error_message = "size: 0 ≤ min ≤ max, and max is at least 1."
  }
  validation {
    condition     = var.size.desired == null || try(var.size.desired >= var.size.min && var.size.desired <= var.size.max, false)
    error_message = "size.desired lies between min and max."
  }
}

variable "root_volume" {
  description = "The root disk, always encrypted: its device's name in the image (Debian, Amazon Linux: /dev/xvda; Ubuntu: /dev/sda1), GiB, and a key (null: the account's default one)."
  type        = object({ device_name = optional(string, "/dev/xvda"), size = optional(number, 20), kms_key_arn = optional(string) })
  default     = {}
  nullable    = false
  validation {
    condition     = startswith(var.root_volume.device_name, "/dev/") && var.root_volume.size >= 8
    error_message = "root_volume: the device is called as in /dev/xvda, and has at least 8 GiB."
  }
}

variable "key_name" {
  description = "A key pair for SSH; null: none."
  type        = string
  default     = null
}

variable "associate_public_ip_address" {
  description = "Whether hosts get a public address."
  type        = bool
  default     = false
  nullable    = false
}

variable "instance_metadata_tags" {
  description = "Whether a host may read its own tags from the metadata service. The agent needs that only where its configuration is in tags (quaymaster-*), which this module does not use."
  type        = bool
  default     = false
  nullable    = false
}

variable "session_manager" {
  description = "Whether operators may open a session by AWS Systems Manager. It allows no more than that: AWS's own policy for it would let the host read every parameter."
  type        = bool
  default     = false
  nullable    = false
}

variable "refresh" {
  description = "How hosts are replaced when what they are made of changes: percent of the wanted size that stay healthy; percent replaced at which it waits, checkpoint_delay seconds each; seconds until a new host counts."
  type = object({
    min_healthy_percentage = optional(number, 90)
    checkpoint_percentages = optional(list(number), [20, 50, 100])
    checkpoint_delay       = optional(number, 300)
    instance_warmup        = optional(number, 180)
  })
  default  = {}
  nullable = false
  validation {
    condition     = var.refresh.min_healthy_percentage >= 0 && var.refresh.min_healthy_percentage <= 100
    error_message = "refresh.min_healthy_percentage is between 0 and 100."
  }
  validation {
    condition     = length(var.refresh.checkpoint_percentages) == 0 || try(var.refresh.checkpoint_percentages[length(var.refresh.checkpoint_percentages) - 1] == 100, false)
    error_message = "refresh.checkpoint_percentages ends with 100, or the rest of the hosts would never be replaced."
  }
}

variable "health_check_type" {
  description = "Who says whether a host is healthy: EC2, or ELB with target_group_arns."
  type        = string
  default     = "EC2"
  nullable    = false
  validation {
    condition     = contains(["EC2", "ELB"], var.health_check_type)
    error_message = "health_check_type is EC2 or ELB."
  }
}

variable "target_group_arns" {
  description = "Load balancers' target groups that the hosts join."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds the role; null: none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(key, "aws:")])
    error_message = "tags: keys that begin with aws: are AWS's own."
  }
  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(key, "quaymaster-")])
    error_message = "tags: keys that begin with quaymaster- would be read as configuration, which this module writes itself: use vault, grants and settings."
  }
}

variable "kms_key_arns" {
  description = "Keys of one's own with which granted secrets and parameters are encrypted. AWS's default keys need nothing."
  type        = list(string)
  default     = []
  nullable    = false
}

# What follows is for terraform/host, which checks it.

variable "vault" {
  description = "Vault, as the output vault of terraform/vault says it; null: the hosts use none."
  type = object({
    address            = string
    role               = string
    mount              = optional(string)
    namespace          = optional(string)
    server_id          = optional(string)
    ca_pem             = optional(string)
    tls_server_name    = optional(string)
    login_spread       = optional(string)
    sts_region         = optional(string)
    sts_endpoint       = optional(string)
    revoke_on_shutdown = optional(bool)
    rate               = optional(number)
    check_versions     = optional(bool)
  })
  default = null
}

variable "grants" {
  description = "Which workloads may have which secrets, by the name of the grant; the keys are those of quaymaster.yaml."
  type = map(object({
    workloads  = map(string)
    secrets    = list(string)
    vault      = optional(object({ role = optional(string), policies = optional(list(string)) }))
    boot_cache = optional(bool, false)
  }))
  default  = {}
  nullable = false
}

variable "settings" {
  description = "Other top-level keys of quaymaster.yaml."
  type        = any
  default     = {}
  nullable    = false
}

variable "files" {
  description = "More files for the host, a compose file for one. No secrets."
  type        = list(object({ path = string, content = string, permissions = optional(string, "0644") }))
  default     = []
  nullable    = false
}

variable "commands" {
  description = "What cloud-init runs at the first boot after all else, each a line for the shell."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "package_repository" {
  description = "Where the package quaymaster comes from, for images that do not have it: apt, yum, or both; version pins it."
  type = object({
    apt     = optional(object({ source = string, key = string }))
    yum     = optional(object({ baseurl = string, gpgkey = string }))
    version = optional(string)
  })
  default = null
}
