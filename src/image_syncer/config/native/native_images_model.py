"""Keys of `images_from:` in the native file. `native_images` interprets the values."""

from pydantic import Field

from image_syncer.config.native.native_values import Duration, Section, Several, Text, Truth


class KubernetesSection(Section):
    """The images of the containers that a Kubernetes cluster runs. Needs the extra `kubernetes`."""

    context: Text | None = Field(default=None, description="Context of the kubeconfig; default: the current one.")
    kubeconfig: Text | None = Field(
        default=None, description="Path of the kubeconfig; default: $KUBECONFIG or ~/.kube/config."
    )
    in_cluster: Truth | None = Field(
        default=None, description="Use the service account of the pod that this runs in; default: false."
    )
    namespaces: Several | None = Field(default=None, description="Only pods in these namespaces; default: all.")
    include_init: Truth | None = Field(default=None, description="Images of init containers, too; default: true.")
    grace: Duration | None = Field(
        default=None, description="Keep images this long after their last container ended; default: 0s."
    )
    watch: Truth | None = Field(
        default=None, description="The daemon runs the rule when the cluster starts another image; default: true."
    )


class ImagesFromSection(Section):
    """Where a rule finds its images, in place of a source. Write one of helm, compose, manifests, list, kubernetes.

    Places are paths, globs, or `oci://registry/repository:tag`; paths are relative to the configuration file.
    """

    helm: Several | None = Field(default=None, description="Charts: directories, archives, or oci://.")
    compose: Several | None = Field(default=None, description="Compose files.")
    manifests: Several | None = Field(default=None, description="Kubernetes manifests in YAML or JSON.")
    list_: Several | None = Field(
        default=None, alias="list", description="Text files with one reference a line; # begins a comment."
    )
    kubernetes: KubernetesSection | None = Field(default=None, description="What a cluster runs.")
    uncertain: Truth | None = Field(
        default=None, description="Copy also images that are not certain to be used; default: false, with a warning."
    )
    include_chart: Truth | None = Field(
        default=None, description="helm: copy the charts of oci://, too; default: false."
    )
    values: Several | None = Field(
        default=None, description="helm: files of values that are laid over those of the charts."
    )
    paths: Several | None = Field(
        default=None, description="manifests: further places of images, such as spec.image or spec.components[*].image."
    )
