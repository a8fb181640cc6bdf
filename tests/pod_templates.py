"""A podTemplate that sets all that a job may set."""

from __future__ import annotations

from typing import Any

FULL: dict[str, Any] = {
    "metadata": {"labels": {"team": "film"}, "annotations": {"example.com/cost": "7"}},
    "spec": {
        "nodeSelector": {"pool": "gpu", "zone": "a"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [],
        "priorityClassName": "low",
        "schedulerName": "volcano",
        "runtimeClassName": "nvidia",
        "serviceAccountName": "bucket-writer",
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
        "terminationGracePeriodSeconds": 90,
        "dnsPolicy": "Default",
        "dnsConfig": {"nameservers": ["10.0.0.10"]},
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["minio"]}],
        "containers": [
            {
                "name": "worker",
                "env": [
                    {"name": "HF_HOME", "value": "/models/hub"},
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
                ],
                "envFrom": [{"configMapRef": {"name": "settings"}}],
                "volumeMounts": [
                    {"name": "models", "mountPath": "/models", "subPath": "a"},
                    {"name": "models", "mountPath": "/more", "subPath": "b", "readOnly": True},
                ],
                "resources": {"requests": {"memory": "8Gi", "cpu": "1"}},
            }
        ],
    },
}
