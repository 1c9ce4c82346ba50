# METADATA
# title: twokey
# description: The root of every policy package. The annotation checks each use of input below it against its schema.
# scope: subpackages
# schemas:
#   - input: schema.input
#   - data.twokey.config: schema.config
package twokey
