mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = {
      name  = "projects/shop-prod/serviceAccounts/docker-host@shop-prod.iam.gserviceaccount.com"
      email = "docker-host@shop-prod.iam.gserviceaccount.com"
    }
  }
}

variables {
  name       = "docker-host"
  project    = "shop-prod"
  region     = "europe-west3"
  image      = "projects/shop-prod/global/images/family/docker-host"
  subnetwork = "projects/shop-prod/regions/europe-west3/subnetworks/hosts"
  vault      = { address = "https://vault.internal:8200", role = "docker-host" }
  grants = {
    timeline = {
      workloads = { "compose.project" = "shop", "compose.service" = "timeline" }
      secrets   = ["vault:kv/shop/timeline/**", "gcp:shop-prod/db-password#user", "gcp:shop-prod/key@7", "gcp:shop-prod/europe-west3/near"]
    }
  }
}

run "a_host_is_safe" {
  assert {
    condition     = google_compute_instance_template.host.shielded_instance_config[0].enable_secure_boot && google_compute_instance_template.host.shielded_instance_config[0].enable_vtpm
    error_message = jsonencode(google_compute_instance_template.host.shielded_instance_config)
  }
  assert {
    condition     = length(google_compute_instance_template.host.network_interface) == 1 && length(google_compute_instance_template.host.network_interface[0].access_config) == 0
    error_message = "an external address that nobody asked for"
  }
  assert {
    condition     = google_compute_instance_template.host.service_account[0].email == "docker-host@shop-prod.iam.gserviceaccount.com" && tolist(google_compute_instance_template.host.service_account[0].scopes) == tolist(["cloud-platform"])
    error_message = jsonencode(google_compute_instance_template.host.service_account)
  }
  assert {
    condition     = google_compute_instance_template.host.metadata.enable-oslogin == "TRUE" && google_compute_instance_template.host.metadata.block-project-ssh-keys == "TRUE"
    error_message = jsonencode(keys(google_compute_instance_template.host.metadata))
  }
  assert {
    condition     = google_compute_region_instance_group_manager.host.update_policy[0].type == "PROACTIVE" && google_compute_region_instance_group_manager.host.update_policy[0].max_unavailable_fixed == 0 && google_compute_region_instance_group_manager.host.update_policy[0].max_surge_fixed == 3
    error_message = jsonencode(google_compute_region_instance_group_manager.host.update_policy)
  }
}

run "its_account_may_what_the_grants_name" {
  assert {
    condition = { for name, b in google_secret_manager_secret_iam_member.host : name => [b.project, b.secret_id, b.role, b.member, try(b.condition[0].expression, "")] } == {
      "shop-prod/db-password read" = ["shop-prod", "db-password", "roles/secretmanager.secretAccessor", "serviceAccount:docker-host@shop-prod.iam.gserviceaccount.com", ""]
      "shop-prod/key read"         = ["shop-prod", "key", "roles/secretmanager.secretAccessor", "serviceAccount:docker-host@shop-prod.iam.gserviceaccount.com", "resource.name.endsWith(\"/versions/7\")"]
    }
    error_message = jsonencode(google_secret_manager_secret_iam_member.host)
  }
  assert {
    condition     = [for b in google_secret_manager_regional_secret_iam_member.host : [b.location, b.secret_id, b.role]] == [["europe-west3", "near", "roles/secretmanager.secretAccessor"]]
    error_message = jsonencode(google_secret_manager_regional_secret_iam_member.host)
  }
  assert {
    condition     = length(google_project_iam_member.host) + length(google_service_account_iam_member.impersonated) + length(google_service_account_iam_member.itself) + length(google_kms_crypto_key_iam_member.boot) == 0
    error_message = "roles that nobody asked for"
  }
  assert {
    condition     = google_compute_instance_template.host.metadata.user-data == output.user_data && yamldecode(output.configuration).identity == "gcp"
    error_message = output.user_data
  }
}

run "containers_are_kept_from_the_metadata_but_not_from_names" {
  assert {
    condition = try(yamldecode(output.user_data).bootcmd, []) == [
      "iptables -w -t raw -C PREROUTING -d 169.254.169.254 -p tcp ! --dport 53 -j DROP 2>/dev/null || iptables -w -t raw -I PREROUTING -d 169.254.169.254 -p tcp ! --dport 53 -j DROP"
    ]
    error_message = output.user_data
  }
}

run "all_else_that_may_be_asked_for" {
  variables {
    whole_projects = { shop-prod = "123456789012" }
    settings = {
      gcp        = { login = "iam" }
      boot_cache = { key = "gcp-kms", key_id = "projects/shop-prod/locations/global/keyRings/boot/cryptoKeys/boot" }
      providers = {
        gcp   = { check_versions = true }
        other = { type = "gcp", impersonate = "reader@elsewhere.iam.gserviceaccount.com" }
      }
    }
    grants = { a = { workloads = { name = "a" }, secrets = ["gcp:shop-prod/timeline-*", "other:elsewhere/a"], boot_cache = true } }
  }
  assert {
    condition = { for name, b in google_project_iam_member.host : name => [b.project, b.role, b.condition[0].expression] } == {
      for name, role in { read = "roles/secretmanager.secretAccessor", see = "roles/secretmanager.viewer" } :
      "shop-prod/timeline-* ${name}" => ["shop-prod", role, "resource.name.startsWith(\"projects/123456789012/secrets/timeline-\")"]
    }
    error_message = jsonencode(google_project_iam_member.host)
  }
  assert {
    condition     = [for b in google_service_account_iam_member.impersonated : [b.service_account_id, b.role]] == [["projects/-/serviceAccounts/reader@elsewhere.iam.gserviceaccount.com", "roles/iam.serviceAccountTokenCreator"]]
    error_message = jsonencode(google_service_account_iam_member.impersonated)
  }
  assert {
    condition     = google_service_account_iam_member.itself[0].service_account_id == google_service_account.host.name && google_kms_crypto_key_iam_member.boot[0].crypto_key_id == "projects/shop-prod/locations/global/keyRings/boot/cryptoKeys/boot"
    error_message = "the account cannot sign for itself, or not seal"
  }
}

run "a_pattern_wider_in_google_cloud" {
  command = plan
  variables {
    grants = { a = { workloads = { name = "a" }, secrets = ["gcp:shop-prod/*-db"] } }
  }
  expect_failures = [terraform_data.exact]
}

run "a_wildcard_that_nobody_allowed" {
  command = plan
  variables {
    grants = { a = { workloads = { name = "a" }, secrets = ["gcp:shop-prod/timeline-*"] } }
  }
  expect_failures = [terraform_data.exact]
}

run "what_does_not_fit" {
  command = plan
  variables {
    files = [{ path = "/srv/noise", content = join("", [for i in range(1000) : join("", [for j in range(3) : sha512("${i}")])]) }]
  }
  expect_failures = [google_compute_instance_template.host]
}

run "bad_inputs" {
  command = plan
  variables {
    name       = "Host"
    project    = "123456789012"
    region     = "europe-west3-a"
    image      = "debian-12"
    subnetwork = "hosts"
    size       = 1.5
    root_disk  = { size = 4 }
    update     = { max_surge = 0 }
    metadata   = { "quaymaster-vault-address" = "https://elsewhere" }
  }
  expect_failures = [var.name, var.project, var.region, var.image, var.subnetwork, var.size, var.root_disk, var.update, var.metadata]
}
